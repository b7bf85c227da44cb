"""Which criteria share a pass over the calibration, and the memory of their sums; without torch."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple, cast

from hfprune.criteria import CRITERIA, Criterion, GradientCriterion, StudentCriterion

# The share of a device's memory that these sums may take; larger sums take several passes.
SUMS_SHARE = 0.3


class GradientPass(NamedTuple):
    """One pass of gradient criteria over the blocks: a forward pass, and a backward pass for each gradient."""

    name: str
    criteria: dict[str, tuple[GradientCriterion, tuple[str, ...]]]
    """Name → criterion, and the kinds of unit that it scores."""
    start: str = ""
    """Name of the earlier criterion that chooses the neurons the student lacks; "" to read the dense model."""
    warm_start: float = 0
    """The fraction of each layer's neurons that the student lacks."""


def gradient_passes(criteria: Mapping[str, Criterion], kinds: Sequence[str]) -> list[GradientPass]:
    """Return the passes of the gradient criteria among `criteria`, in their order.

    Criteria without a student share a pass, with the cross-entropies that choose what students lack. Students that
    lack the same neurons share one, too. A criterion with sums as large as weights has a pass of its own.
    """
    gradients = {name: item for name, item in criteria.items() if isinstance(item, GradientCriterion)}
    students = {name: item for name, item in gradients.items() if isinstance(item, StudentCriterion)}
    dense = {name: (item, tuple(kinds)) for name, item in gradients.items() if name not in students}
    by_start: dict[tuple[str, float], dict[str, tuple[GradientCriterion, tuple[str, ...]]]] = {}
    for name, item in students.items():
        # Only neurons are masked: 2.5 % of a few groups or layers would be less than one.
        cross_entropy = CRITERIA.make("cross_entropy", {"aggregation": item.aggregation}, name)
        entry = cast(GradientCriterion, cross_entropy), ("neurons",)
        start = next((other for other, scored in dense.items() if scored == entry), f"start of {name}")
        dense.setdefault(start, entry)
        by_start.setdefault((start, item.warm_start), {})[name] = item, tuple(kinds)
    passes = _own_first(GradientPass("gradients", dense))
    for (start, fraction), sharing in by_start.items():
        aggregation = next(iter(sharing.values()))[0].aggregation
        passes += _own_first(GradientPass(f"student-{aggregation}-{fraction}", sharing, start, fraction))
    return passes


def _own_first(whole: GradientPass) -> list[GradientPass]:
    """Give criteria with large sums passes of their own; they run out of memory first, so they come first."""
    large = [name for name, (item, _) in whole.criteria.items() if sums_bytes(item, 1)]
    own = [
        whole._replace(name=f"{whole.name}-{name}", criteria={name: whole.criteria[name]}) for name in large
    ]
    others = {name: scored for name, scored in whole.criteria.items() if name not in large}
    return own + ([whole._replace(criteria=others)] if others else [])


def sums_bytes(criterion: Criterion, weights: float) -> float:
    """Return the bytes of the sums that scoring keeps for `weights` weights; 0 if none is per weight."""
    # Both halves of the calibration, float32.
    return 2 * 4 * getattr(criterion, "sums_per_weight", 0) * weights


def layer_parts(criterion: Criterion, layers: int, weights: float, room: float) -> list[range]:
    """Split layers of `weights` weights each into parts whose sums fit into `room` bytes, at least one layer each.

    Each part takes a pass of its own over the blocks.
    """
    size = sums_bytes(criterion, weights)
    fitting = max(1, min(layers, room // size)) if size else layers
    count = ceil(layers / fitting)
    bounds = [round(number * layers / count) for number in range(count + 1)]
    return [range(*part) for part in pairwise(bounds)]
