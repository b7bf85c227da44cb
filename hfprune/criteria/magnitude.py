"""Weight magnitude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hfprune.criteria import WeightCriterion

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hfprune.models.units import Neurons


class Magnitude(WeightCriterion):
    """Size of the neuron's weights (gate row g_i, up row u_i, down column d_i), as in published baselines."""

    definition: Literal["down_norm", "l1", "l2", "range"] = "down_norm"
    """down_norm: ‖d_i‖₂ (FLAP, `mag-sp`); l1, l2: mean over g_i, u_i, d_i of Σ_j |w_j|^p (LLM-Pruner, without
    a root); range: Σ over g_i, u_i of max_j w_j + |min_j w_j| (optiPfair, MAW)."""

    def layer_scores(self, mlp: Neurons, generator: torch.Generator) -> Tensor:
        """Return the size [neurons]."""
        import torch

        weights = torch.stack([mlp.gate.weight, mlp.up.weight, mlp.down.weight.T]).float()
        if self.definition == "l1":
            return weights.abs().sum(2).mean(0)
        if self.definition == "l2":
            return weights.square().sum(2).mean(0)
        if self.definition == "range":
            return (weights[:2].amax(2) + weights[:2].amin(2).abs()).sum(0)
        return weights[2].norm(dim=1)
