"""Pruning in steps: the scores of what a plan has left, as scores of the dense model."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hfprune.models.kinds import layer_of
from hfprune.plans.plan import Plan


def scores_of_dense(left: Mapping[str, Tensor], plan: Plan, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the scores of a pruned model's units under their names in the dense model; a removed unit has -inf.

    A plan that is cut from them is the next plan of the pruned model, composed with `plan` into one of the dense
    model: it keeps none of the removed units, and names the others as the dense model does.

    Args:
        left: scores [units that are left] by name, with the pruned model's numbers of layers.
        plan: the plan that made the pruned model.
        counts: number of units of the dense model by name, for the kinds that were scored.
    """
    found = {name: torch.full((count,), -torch.inf, dtype=torch.float64) for name, count in counts.items()}
    for name, scores in left.items():
        if "layers" in plan and name != "layers":
            name = f"{name.partition('.')[0]}.{plan['layers'][layer_of(name)]}"
        found[name][plan.get(name, torch.arange(counts[name]))] = scores.to("cpu", torch.float64)
    return found
