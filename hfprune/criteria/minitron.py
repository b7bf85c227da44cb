"""Minitron's activation metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import ActivationCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Neurons


class Minitron(ActivationCriterion):
    """√(Σ_n (mean_t |h|)²): mean over tokens, then L2 norm over sequences (arXiv 2407.14679).

    The aggregation follows NVIDIA's Model Optimizer (`importance_hooks`, L2NormHook).
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return the squared means [sequences, neurons]."""
        return h.abs().mean(1).square()

    def finish(self, mlp: Neurons, statistic: Tensor) -> Tensor:
        """Return the norm over sequences [neurons]."""
        return statistic.sqrt()
