"""Weight magnitude."""

import torch
from torch import Tensor

from hfprune.criterion import WeightCriterion
from hfprune.models import GatedMLP


class Magnitude(WeightCriterion):
    """‖d_i‖₂, the norm of the neuron's column of the down-projection (`mag-sp` in FLAP)."""

    def layer_scores(self, mlp: GatedMLP, generator: torch.Generator) -> Tensor:
        """Return the norms [neurons]."""
        return mlp.down.weight.float().norm(dim=0)
