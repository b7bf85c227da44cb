"""Entropy of the model's own next-token distribution: the paper's criterion."""

from torch import Tensor

from hfprune.criterion import GradientCriterion
from hfprune.scoring import Positions


class Entropy(GradientCriterion):
    """H = -Σ_j p_j ln p_j over the whole vocabulary (paper, Eq. 3; natural log as in the official code)."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z_j = -p_j (ln p_j + H)."""
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(-1, keepdim=True)
        return log_p.add_(entropy).mul_(p).neg_()
