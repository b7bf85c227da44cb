"""Cross-entropy of the next token: the classic first-order Taylor criterion."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hfprune.criterion import GradientCriterion
from hfprune.scoring import Positions


class CrossEntropy(GradientCriterion):
    """-ln p(next token), in activation form |h·∂C/∂h| (paper, Sec. 4 and Table 6, "CE Loss")."""

    needs_targets = True

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the cross-entropy in nats [n]."""
        return cross_entropy(logits, positions.targets, reduction="none")

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p - onehot(target)."""
        p = logits.softmax(-1)
        p[torch.arange(len(p), device=p.device), positions.targets] -= 1
        return p
