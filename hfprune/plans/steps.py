"""Pruning in steps: the scores of what a plan has left, as scores of the dense model."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hfprune.models.units import layer_of
from hfprune.plans.plan import Plan


def scores_of_dense(left: Mapping[str, Tensor], plan: Plan, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the scores of a pruned model's units at their places in the dense model; a removed unit has -inf.

    A plan that is cut from them is the next plan of the pruned model, composed with `plan` into one of the dense
    model: it keeps none of the removed units, and names the others as the dense model does.

    Args:
        left: scores [units that are left] by place, with the pruned model's numbers of layers.
        plan: the plan that made the pruned model.
        counts: number of units of the dense model at each of its places, for the kinds that were scored.
    """
    found = {place: torch.full((count,), -torch.inf, dtype=torch.float64) for place, count in counts.items()}
    for place, scores in left.items():
        name = place
        if "layers" in plan and place != "layers":
            name = f"{place.partition('.')[0]}.{plan['layers'][layer_of(place)]}"
        found[name][plan.get(name, torch.arange(counts[name]))] = scores.to("cpu", torch.float64)
    return found
