"""Allocation: how many units each layer keeps, and which, by their scores."""

from collections.abc import Sequence
from statistics import mean

import torch
from torch import Tensor

from hfprune.errors import HfpruneError
from hfprune.models.units import Units
from hfprune.rounding import percent

# The share of a layer's neurons that a global ranking always keeps.
FLOOR = 0.1


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Return the sorted indices of the `count` highest scores; among equal scores, the first units stay.

    In scores [units, units], row m - 1 is for the removal of m units (`hfprune.criteria.Criterion.nested`).
    """
    if scores.dim() == 2:
        scores = scores[max(len(scores) - count, 1) - 1]
    order = scores.argsort(descending=True, stable=True)
    return order[:count].sort().values


def kept_mask(kept: Tensor, count: int) -> Tensor:
    """Return a bool mask [count] that is true at the indices `kept`, on their device."""
    mask = torch.zeros(count, dtype=torch.bool, device=kept.device)
    mask[kept] = True
    return mask


def keep_uniformly(scores: Sequence[Tensor], count: float, align: int = 1) -> list[Tensor]:
    """Return the sorted indices of the `count` highest scores of each layer; unlike layers keep the same share.

    With `align` = N each layer first keeps the largest multiple of N within `count`. Then the layers whose next N
    scores have the highest sums keep these, too, until the total is the multiple of N nearest to the unaligned
    total.

    Args:
        scores: one vector [units] for each layer.
        count: units that a layer keeps, on average if layers are unlike.
        align: N.

    Raises:
        HfpruneError: no multiples of N within the layers' widths give this total.
    """
    width, total = mean(map(len, scores)), count * len(scores)
    # Each layer keeps at least one neuron, however small its share.
    chunks = [max(int(count * (len(layer) / width) // align), align == 1) for layer in scores]
    extra = round(total / align) - sum(chunks)
    if extra > 0:
        following = torch.stack(
            [_next_sum(layer, number, align) for layer, number in zip(scores, chunks, strict=True)]
        )
        able = sum((n + 1) * align <= len(layer) for layer, n in zip(scores, chunks, strict=True))
        for index in keep_highest(following, min(extra, able)).tolist():
            chunks[index] += 1
    tolerance = align / 2 if align > 1 else len(scores) / 2
    if min(chunks) < 1 or abs(sum(chunks) * align - total) > tolerance:
        raise HfpruneError(
            f"align {align}: {len(scores)} layers of {width:,.0f} neurons cannot keep {total:,.0f} of them in "
            f"multiples of {align}, at least {align:,} in each: choose a smaller alignment"
        )
    return [keep_highest(layer, number * align) for layer, number in zip(scores, chunks, strict=True)]


def _next_sum(layer: Tensor, number: int, align: int) -> Tensor:
    """Return the sum of the `align` scores after the highest `number` · `align`, or -inf if there are fewer."""
    whole = layer.sort(descending=True).values[: len(layer) // align * align].unflatten(0, (-1, align)).sum(1)
    return whole[number] if number < len(whole) else whole.new_tensor(-torch.inf)


def keep_globally(scores: Sequence[Tensor], count: int, standardize: bool = False) -> list[Tensor]:
    """Return the sorted indices, layer by layer, of the `count` highest scores of all layers together.

    Each layer always keeps its highest scores up to the share `FLOOR`. Standardised scores are z-scores within the
    layer (as in FLAP), since layers differ in scale.

    Raises:
        HfpruneError: the floors alone keep more than `count`.
    """
    floors = [max(1, round(FLOOR * len(layer))) for layer in scores]
    if sum(floors) > count:
        raise HfpruneError(
            f"{percent(FLOOR)} of each layer stay, {sum(floors)} neurons, but the ratio leaves {count}: "
            "lower the ratio"
        )
    ranks, sorted_ranks = [], []
    for layer, floor in zip(scores, floors, strict=True):
        if standardize:
            left = layer[layer.isfinite()]  # without units that an earlier step removed
            layer = (layer - left.mean()) / left.std().clamp_min(1e-300)
        ranks.append(layer)
        sorted_ranks.append(ranks[-1].sort(descending=True).values)
        sorted_ranks[-1][:floor] = torch.inf
    joined = torch.cat(sorted_ranks)
    mask = kept_mask(keep_highest(joined, count), len(joined))
    counts = [int(part.sum()) for part in mask.split([*map(len, scores)])]
    return [keep_highest(layer, number) for layer, number in zip(ranks, counts, strict=True)]


def keep_jointly(units: dict[str, Units], scores: dict[str, Tensor], goal: float) -> dict[str, Tensor]:
    """Rank the neurons and the key-value groups of all layers together, as FLAP does, and return the kept ones.

    They are removed one by one, the lowest score first, until the removed parameters are as close to `goal` as one
    neuron allows. A group that would exceed the goal stays; so do a layer's last group and its last neuron. Among
    equal scores, the first units stay.

    Args:
        units: the neurons and the groups of every layer, by name.
        scores: scores of the same units.
        goal: number of parameters to remove.

    Raises:
        HfpruneError: the ratio leaves too little to remove.
    """
    tolerance = next(unit.parameters for unit in units.values() if unit.kind == "neurons") / 2
    owners = [name for name in units for _ in scores[name]]
    left, removed = {name: unit.count for name, unit in units.items()}, 0
    joined = torch.cat([scores[name].sort(descending=True).values for name in units])
    # Flipped, so that among equal scores the last unit is removed first.
    for number in joined.argsort(descending=True, stable=True).flip(0).tolist():
        name = owners[number]
        weight = units[name].parameters
        if left[name] > 1 and removed + weight <= goal + tolerance:
            left[name] -= 1
            removed += weight
    if not abs(goal - removed) <= tolerance:
        raise HfpruneError(
            f"joint removes {removed:,} parameters where the ratio asks for {goal:,.0f}: lower the ratio"
        )
    return {name: keep_highest(scores[name], left[name]) for name in units}
