"""FLAP's fluctuation metric."""

import torch
from torch import Tensor

from hfprune.criterion import ActivationCriterion
from hfprune.models import GatedMLP


class Flap(ActivationCriterion):
    """Σ (h_i - h̄_i)² · ‖d_i‖²: the score WIFV of FLAP (arXiv 2312.11983).

    The score alone. Not here: FLAP's budget across layers (its z-scores and global threshold), and the bias that
    stands in for the mean of what was pruned.
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return Σ_t h, Σ_t h² and the number of tokens [sequences, 3, neurons]."""
        sums = [x.sum(1, dtype=torch.float64) for x in (h, h.square(), torch.ones_like(h))]
        return torch.stack(sums, 1)

    def finish(self, mlp: GatedMLP, sums: Tensor) -> Tensor:
        """Return the fluctuation times the squared column norm [neurons]."""
        first, second, count = sums
        fluctuation = second - first.square() / count.clamp_min(1)
        # Rounding can leave a tiny negative variance where a neuron is constant.
        return fluctuation.clamp_min(0) * mlp.down.weight.float().square().sum(0)
