"""Allocation: how many units each layer keeps, and which, by their scores."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.plans.rules import Allocation


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the `count` highest scores; among equal scores, the first units stay."""
    order = scores.argsort(descending=True, stable=True)
    return order[:count].sort().values


def kept_mask(kept: Tensor, count: int) -> Tensor:
    """Return a boolean mask [count] that is true at the kept indices."""
    mask = torch.zeros(count, dtype=torch.bool, device=kept.device)
    mask[kept] = True
    return mask


def floor_width(width: int, floor: float) -> int:
    """Return the number of a layer's neurons that a floor keeps: rounded, at least one."""
    return max(1, round(floor * width))


def check_floor(count: int, least: int, floor: float) -> None:
    """Fail if a floor keeps more neurons (`least`) than the budget leaves (`count`)."""
    if least > count:
        raise HfpruneError(
            f"a floor of {floor:g} keeps {least} neurons, but the ratio leaves {count}: lower one of the two"
        )


def keep_uniformly(scores: Sequence[Tensor], count: int, align: int = 1) -> list[Tensor]:
    """Return the sorted indices of the `count` highest scores of each layer.

    With `align` = N each layer keeps the largest multiple of N up to `count`. The layers whose next N scores
    have the highest sums keep those, too, until the total is the multiple of N nearest to the unaligned
    total.

    Raises:
        HfpruneError: no such widths exist between N and the dense width.
    """
    base, total = count // align, count * len(scores)
    extra = round(total / align) - base * len(scores)
    sums = [chunk_sums(layer, align) for layer in scores]
    chunks = [base] * len(scores)
    if extra and all(base < len(layer) for layer in sums):
        following = torch.stack([layer[base] for layer in sums])
        for index in keep_highest(following, extra).tolist():
            chunks[index] += 1
    _check_aligned(chunks, total, align, len(scores[0]))
    return [keep_highest(layer, number * align) for layer, number in zip(scores, chunks, strict=True)]


def keep_globally(scores: Sequence[Tensor], count: int, allocation: Allocation) -> list[Tensor]:
    """Return the sorted indices, layer by layer, of the `count` highest scores of all layers together.

    Each layer always keeps its highest scores up to the allocation's floor. Standardised scores are z-scores
    within the layer (as in FLAP), since layers differ in scale. With `align` = N, chunks of N neurons are
    ranked by the sum of their scores; a layer's chunks follow the order of its scores.

    Raises:
        HfpruneError: the floors alone keep more than `count`, or whole chunks cannot hold so many neurons.
    """
    align = allocation.align
    least = -(-floor_width(len(scores[0]), allocation.floor) // align)  # chunks that hold the floor
    check_floor(count, sum(floor_width(len(layer), allocation.floor) for layer in scores), allocation.floor)
    ranks, sums = [], []
    for layer in scores:
        left = layer[layer.isfinite()]  # without what a step before has removed
        ranks.append(
            (layer - left.mean()) / left.std().clamp_min(1e-300) if allocation.standardize else layer
        )
        sums.append(chunk_sums(ranks[-1], align))
        sums[-1][:least] = torch.inf
    joined = torch.cat(sums)
    mask = kept_mask(keep_highest(joined, round(count / align)), len(joined))
    chunks = [int(part.sum()) for part in mask.split([len(layer) for layer in sums])]
    _check_aligned(chunks, count, align, len(scores[0]), least)
    return [keep_highest(layer, number * align) for layer, number in zip(ranks, chunks, strict=True)]


def keep_jointly(
    units: dict[str, Units], scores: dict[str, Tensor], goal: float, align: int = 1
) -> dict[str, Tensor]:
    """Rank the neurons and the key-value groups of all layers together, as FLAP does, and return the kept ones.

    Neurons (with `align` = N, chunks of N in the order of a layer's scores) and groups are removed one by one,
    the lowest score first, until the removed parameters are as close to `goal` as one neuron (chunk) allows. A
    group that would exceed the goal stays; so do a layer's last group and its last chunk. Among equal scores,
    the first units stay.

    Args:
        units: the neurons and the groups of every layer, by name.
        scores: scores of the same units.
        goal: number of parameters to remove.
        align: widths are multiples of it.

    Raises:
        HfpruneError: the ratio or the alignment leave too little to remove.
    """
    neurons = [unit for unit in units.values() if unit.kind == "neurons"]
    width, depth, parameters = neurons[0].count, len(neurons), neurons[0].parameters
    sizes = {name: align if unit.kind == "neurons" else 1 for name, unit in units.items()}
    sums = {name: chunk_sums(scores[name], size) for name, size in sizes.items()}
    _check_aligned([width // align] * depth, depth * (width // align) * align, align, width)
    left = {name: len(values) for name, values in sums.items()}
    owners = [name for name, values in sums.items() for _ in values]
    removed, tolerance = depth * parameters * (width % align), parameters * align / 2
    # Flipped, so that among equal scores the last unit is removed first.
    for number in torch.cat([*sums.values()]).argsort(descending=True, stable=True).flip(0).tolist():
        name = owners[number]
        weight = sizes[name] * units[name].parameters
        if left[name] > 1 and removed + weight <= goal + tolerance:
            left[name] -= 1
            removed += weight
    if abs(goal - removed) > tolerance:
        raise HfpruneError(
            f"joint removes {removed:,} parameters where the ratio asks for {goal:,.0f}: "
            "lower the alignment or the ratio"
        )
    return {name: keep_highest(scores[name], left[name] * sizes[name]) for name in units}


def chunk_sums(scores: Tensor, align: int) -> Tensor:
    """Return the sums [width // align] of the `align` highest scores, the next `align`, and so on."""
    ranked = scores.sort(descending=True).values
    chunks = len(scores) // align
    return ranked[: chunks * align].view(chunks, align).sum(1)


def _check_aligned(chunks: Sequence[int], count: int, align: int, width: int, least: int = 1) -> None:
    """Fail if a layer keeps fewer than `least` chunks, or the total is not the nearest one to `count`."""
    if min(chunks) < least or abs(sum(chunks) * align - count) > align / 2:
        raise HfpruneError(
            f"align {align}: {len(chunks)} layers of {width:,} neurons cannot keep {count:,} of them in multiples "
            f"of {align}, at least {least * align:,} in each: choose a smaller alignment"
        )
