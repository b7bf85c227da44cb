"""Confidence margin."""

from torch import Tensor

from hfprune.criterion import GradientCriterion
from hfprune.scoring import Positions


class Margin(GradientCriterion):
    """p_1 - p_2: how far the likeliest token leads the second likeliest."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the margin [n]."""
        first, second = logits.softmax(-1).topk(2).values.unbind(-1)
        return first - second

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p_1 (e_1 - p) - p_2 (e_2 - p)."""
        p = logits.softmax(-1)
        top = p.topk(2)
        signed = top.values * top.values.new_tensor([1, -1])
        return p.mul_(-signed.sum(-1, keepdim=True)).scatter_add_(-1, top.indices, signed)
