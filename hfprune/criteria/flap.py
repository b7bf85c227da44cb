"""FLAP's fluctuation metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import ActivationCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Units


class Flap(ActivationCriterion):
    """Σ (h_i - h̄_i)² · ‖w_i‖²: the score WIFV of FLAP (arXiv 2312.11983), w_i what reads channel i.

    A neuron has one channel; a key-value group's score is the mean of the squares over its channels. Only the
    score: FLAP whole also ranks z-scores of both kinds together (`standardize`, `allocation: joint`), and
    replaces the mean of what it prunes (`bias: true`).
    """

    kinds = ("neurons", "key_value_groups")

    standardize: bool = False
    """Whether a channel's score is its z-score within the layer, by which FLAP ranks layers and kinds together."""

    def shares(self, h: Tensor) -> Tensor:
        """Return Σ_t h, Σ_t h² and the number of tokens [sequences, 3, channels]."""
        import torch

        sums = [x.sum(1, dtype=torch.float64) for x in (h, h.square(), torch.ones_like(h))]
        return torch.stack(sums, 1)

    def finish(self, units: Units, statistic: Tensor) -> Tensor:
        """Return the fluctuation times the squared column norm, by unit [units]."""
        first, second, count = statistic
        fluctuation = second - first.square() / count.clamp_min(1)
        # Rounding can leave a tiny negative variance where a channel is constant.
        scores = fluctuation.clamp_min(0) * units.linears[-1].weight.float().square().sum(0)
        if units.kind == "key_value_groups":
            scores = scores.square()
        if self.standardize:
            scores = (scores - scores.mean()) / scores.std().clamp_min(1e-300)
        return scores.view(units.count, -1).mean(1)
