"""Wanda, structured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import ActivationCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Neurons


class Wanda(ActivationCriterion):
    """mean_k |d_ki| · √(Σ_n ‖h_n,i‖²): Wanda (arXiv 2306.11695) per neuron, FLAP's baseline `Wanda-sp`.

    All layers are scored on the dense model; in FLAP's script, later layers see the pruned earlier ones.
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return the squared norms over tokens [sequences, neurons]."""
        return h.square().sum(1)

    def finish(self, mlp: Neurons, statistic: Tensor) -> Tensor:
        """Return activation norm times mean absolute weight [neurons]."""
        return statistic.sqrt() * mlp.down.weight.float().abs().mean(0)
