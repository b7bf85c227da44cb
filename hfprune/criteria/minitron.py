"""Minitron's activation metric."""

from torch import Tensor

from hfprune.criterion import ActivationCriterion
from hfprune.models import GatedMLP


class Minitron(ActivationCriterion):
    """√(Σ_n (mean_t |h|)²): mean over tokens, then L2 norm over sequences (arXiv 2407.14679).

    The aggregation is that of NVIDIA's Model Optimizer (`importance_hooks`, L2NormHook).
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return the squared means [sequences, neurons]."""
        return h.abs().mean(1).square()

    def finish(self, mlp: GatedMLP, sums: Tensor) -> Tensor:
        """Return the norm over sequences [neurons]."""
        return sums.sqrt()
