"""Entropy of the model's own next-token distribution: the paper's criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import GradientCriterion, Positions

if TYPE_CHECKING:
    from torch import Tensor


class Entropy(GradientCriterion):
    """H = -Σ_j p_j ln p_j over the whole vocabulary (paper, Eq. 3; natural log as in the official code)."""

    version = 2

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z_j = -p_j (ln p_j + H).

        It sums to zero over the vocabulary, but rounding breaks this: p does not sum to exactly 1, and an
        error of H shifts every component by a multiple of p_j. The head would sum these errors over the
        vocabulary, so they are corrected here.
        """
        import torch

        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        total = p.sum(-1, keepdim=True)
        entropy = (p * log_p).sum(-1, keepdim=True).div_(total).neg_()
        gradient = log_p.add_(entropy).mul_(p)
        left = gradient.sum(-1, keepdim=True).div_(total)
        return torch.addcmul(gradient, p, left, value=-1, out=gradient).div_(-total)
