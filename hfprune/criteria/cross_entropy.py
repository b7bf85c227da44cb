"""Cross-entropy of the next token: the classic first-order Taylor criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import GradientCriterion, Positions

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(GradientCriterion):
    """-ln p(next token), in activation form |h·∂C/∂h| (paper, Sec. 4 and Table 6, "CE Loss")."""

    needs_targets = True

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the cross-entropy in nats [n]."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, positions.targets, reduction="none")

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p - onehot(target)."""
        import torch

        p = logits.softmax(-1)
        p[torch.arange(len(p), device=p.device), positions.targets] -= 1
        return p
