"""Confidence margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import GradientCriterion, Positions

if TYPE_CHECKING:
    from torch import Tensor


class Margin(GradientCriterion):
    """p_1 - p_2: the lead of the likeliest token over the second likeliest."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the margin [n]."""
        first, second = logits.softmax(-1).topk(2).values.unbind(-1)
        return first - second

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p_1 (e_1 - p) - p_2 (e_2 - p)."""
        import torch

        p = logits.softmax(-1)
        top = p.topk(2)
        first, second = top.values.unbind(-1)
        signed = torch.stack([first, -second], -1)
        return p.mul_(-signed.sum(-1, keepdim=True)).scatter_add_(-1, top.indices, signed)
