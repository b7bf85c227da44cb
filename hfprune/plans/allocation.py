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
    align, least = allocation.align, floor_chunks(len(scores[0]), allocation)
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


def keep_per_parameter(
    units: dict[str, Units], scores: dict[str, Tensor], goal: float, allocation: Allocation
) -> dict[str, Tensor]:
    """Rank neurons and layers together by score per parameter, and return the kept units by name.

    Neurons (with `align` = N, chunks of N in the order of a layer's scores) and layers are removed one by
    one, the lowest score per parameter first, until the removed parameters are as close to `goal` as one
    neuron (chunk) allows. A removed layer counts with the neurons that it still has. A layer that would
    exceed the goal stays; so do one last layer, and the neurons under the floor. Among equal scores, the
    first units stay.

    Args:
        units: the neurons of every layer and, if layers may be removed, `layers`.
        scores: scores of the same units.
        goal: number of parameters to remove.
        allocation: gives the floor and the alignment.

    Raises:
        HfpruneError: floor or alignment leave too little to remove.
    """
    names = [name for name in units if name != "layers"]
    width, weight = units[names[0]].count, units[names[0]].parameters
    step, depth, least = allocation.align, len(names), floor_chunks(width, allocation)
    sums = torch.stack([chunk_sums(scores[name], step) for name in names])
    per_layer = sums.shape[1]
    _check_aligned([per_layer] * depth, depth * per_layer * step, step, width)
    values = [sums.flatten() / (step * weight)]
    layers = units.get("layers")
    if layers:
        values.insert(0, scores["layers"] / layers.parameters)
    offset = depth if layers else 0
    left, gone = [per_layer] * depth, set[int]()
    removed = depth * (width - per_layer * step) * weight
    tolerance = step * weight / 2
    # Flipped, so that among equal scores the last unit is removed first, and neurons before layers.
    for index in torch.cat(values).argsort(descending=True, stable=True).flip(0).tolist():
        if layers and index < offset:
            rest = layers.parameters - (width - left[index] * step) * weight
            if removed + rest <= goal + tolerance and len(gone) < depth - 1:
                gone.add(index)
                removed += rest
            continue
        if removed + tolerance > goal:
            break
        layer = (index - offset) // per_layer
        if layer not in gone and left[layer] > least:
            left[layer] -= 1
            removed += step * weight
    if abs(goal - removed) > tolerance:
        raise HfpruneError(
            f"per_parameter removes {removed:,} parameters where the ratio asks for {goal:,.0f}: "
            "lower the floor, the alignment or the ratio"
        )
    stay = [layer for layer in range(depth) if layer not in gone]
    kept = {names[layer]: keep_highest(scores[names[layer]], left[layer] * step) for layer in stay}
    return ({"layers": torch.tensor(stay)} if layers else {}) | kept


def chunk_sums(scores: Tensor, align: int) -> Tensor:
    """Return the sums [width // align] of the `align` highest scores, the next `align`, and so on."""
    ranked = scores.sort(descending=True).values
    chunks = len(scores) // align
    return ranked[: chunks * align].view(chunks, align).sum(1)


def floor_chunks(width: int, allocation: Allocation) -> int:
    """Return the number of chunks of `align` neurons that a layer always keeps: enough for its floor."""
    return -(-floor_width(width, allocation.floor) // allocation.align)


def _check_aligned(chunks: Sequence[int], count: int, align: int, width: int, least: int = 1) -> None:
    """Fail if a layer keeps fewer than `least` chunks, or the total is not the nearest one to `count`."""
    if min(chunks) < least or abs(sum(chunks) * align - count) > align / 2:
        raise HfpruneError(
            f"align {align}: {len(chunks)} layers of {width:,} neurons cannot keep {count:,} of them in multiples "
            f"of {align}, at least {least * align:,} in each: choose a smaller alignment"
        )
