"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import WeightCriterion

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hfprune.models.units import Units


class Random(WeightCriterion):
    """Uniform in [0, 1), from the seed of the draw."""

    kinds = ("neurons", "key_value_groups", "layers")
    seeded = True

    def layer_scores(self, mlp: Units, generator: torch.Generator) -> Tensor:
        """Return uniform random numbers [units]."""
        import torch

        return torch.rand(mlp.count, generator=generator, dtype=torch.float64)
