"""Wanda, structured."""

from torch import Tensor

from hfprune.criterion import ActivationCriterion
from hfprune.models import GatedMLP


class Wanda(ActivationCriterion):
    """mean_k |d_ki| · √(Σ_n ‖h_n,i‖²): Wanda (arXiv 2306.11695) by neuron, FLAP's baseline `Wanda-sp`.

    All layers are scored on the dense model; FLAP's script lets later layers see pruned ones.
    """

    def shares(self, h: Tensor) -> Tensor:
        """Return the squared norms over tokens [sequences, neurons]."""
        return h.square().sum(1)

    def finish(self, mlp: GatedMLP, sums: Tensor) -> Tensor:
        """Return activation norm times mean absolute weight [neurons]."""
        return sums.sqrt() * mlp.down.weight.float().abs().mean(0)
