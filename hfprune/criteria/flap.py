"""FLAP's fluctuation metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import ActivationCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Neurons


class Flap(ActivationCriterion):
    """Σ (h_i - h̄_i)² · ‖d_i‖²: the score WIFV of FLAP (arXiv 2312.11983).

    Only the score. FLAP's budget across layers (its z-scores and global threshold), and its bias, which
    replaces the mean of the pruned neurons, are not part of it.
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return Σ_t h, Σ_t h² and the number of tokens [sequences, 3, neurons]."""
        import torch

        sums = [x.sum(1, dtype=torch.float64) for x in (h, h.square(), torch.ones_like(h))]
        return torch.stack(sums, 1)

    def finish(self, mlp: Neurons, statistic: Tensor) -> Tensor:
        """Return the fluctuation times the squared column norm [neurons]."""
        first, second, count = statistic
        fluctuation = second - first.square() / count.clamp_min(1)
        # Rounding can leave a tiny negative variance where a neuron is constant.
        return fluctuation.clamp_min(0) * mlp.down.weight.float().square().sum(0)
