"""Random scores: the floor that every criterion must beat."""

import torch
from torch import Tensor

from hfprune.criterion import WeightCriterion
from hfprune.models import GatedMLP


class Random(WeightCriterion):
    """Uniform in [0, 1), from the study's seed."""

    def layer_scores(self, mlp: GatedMLP, generator: torch.Generator) -> Tensor:
        """Return uniform random numbers [neurons]."""
        return torch.rand(mlp.width, generator=generator, dtype=torch.float64)
