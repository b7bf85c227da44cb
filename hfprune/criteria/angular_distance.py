"""Angular distance over runs of consecutive decoder layers."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

from hfprune.criteria import LayerCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Layers


class AngularDistance(LayerCriterion):
    """arccos(cos(x_in, x_out)) / π of the last token over a run of m layers (Gromov et al., arXiv 2403.17887).

    The run of m layers with the smallest distance is removed; the best run of m + 1 may lie elsewhere. Row m - 1
    of the scores therefore has, for each layer, the smallest distance of a run of m that contains it: the m lowest
    are the best run.
    """

    nested = False

    def shares(self, x_in: Tensor, x_out: Tensor) -> Tensor:
        """Return the last token's states before and after the layer [sequences, 2, width]."""
        import torch

        return torch.stack([x_in[:, -1], x_out[:, -1]], 1)

    def together(self, shares: Tensor) -> Tensor:
        """Return the distances of all runs [sequences, layers, layers], by length and first layer."""
        import torch

        depth = shares.shape[1]
        # In float64: arccos loses half of the digits where the angle is small.
        states = torch.cat([shares[:, :, 0], shares[:, -1:, 1]], 1).double()
        states = torch.nn.functional.normalize(states, dim=-1)
        angles = (states @ states.mT).clamp(-1, 1).arccos() / pi
        runs = torch.zeros_like(angles[:, 1:, 1:])
        for length in range(1, depth + 1):
            runs[:, length - 1, : depth + 1 - length] = angles.diagonal(length, 1, 2)
        return runs

    def finish(self, layers: Layers, statistic: Tensor) -> Tensor:
        """Return the scores [layers, layers]: by length, the smallest distance of a run that holds each layer."""
        import torch

        scores, depth = torch.full_like(statistic, torch.inf), len(statistic)
        for length in range(1, depth + 1):
            for first in range(depth + 1 - length):
                run = scores[length - 1, first : first + length]
                run.clamp_(max=statistic[length - 1, first])
        return scores
