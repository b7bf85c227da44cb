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

    definition: Literal["down_norm", "l1", "l2", "range", "variance", "norm_product", "norm_sum"] = (
        "down_norm"
    )
    """down_norm: ‖d_i‖₂ (FLAP, `mag-sp`); l1, l2: mean over g_i, u_i, d_i of Σ_j |w_j|^p (LLM-Pruner, without
    a root). optiPfair's read g_i and u_i alone. range: the sum of max_j w_j + |min_j w_j| (MAW); variance: the
    sum of the sample variances (VOW); norm_product: ‖g_i‖₁ ‖u_i‖₁ (PON); norm_sum: ‖g_i‖₂ + ‖u_i‖₂ (L2)."""

    def layer_scores(self, mlp: Neurons, generator: torch.Generator) -> Tensor:
        """Return the size [neurons]."""
        import torch

        weights = torch.stack([mlp.gate.weight, mlp.up.weight, mlp.down.weight.T]).float()
        if self.definition == "l1":
            return weights.abs().sum(2).mean(0)
        if self.definition == "l2":
            return weights.square().sum(2).mean(0)
        gate, up, down = weights
        if self.definition == "range":
            return gate.amax(1) + gate.amin(1).abs() + up.amax(1) + up.amin(1).abs()
        if self.definition == "variance":
            return gate.var(1) + up.var(1)
        if self.definition == "norm_product":
            return gate.norm(1, dim=1) * up.norm(1, dim=1)
        if self.definition == "norm_sum":
            return gate.norm(dim=1) + up.norm(dim=1)
        return down.norm(dim=1)
