"""Fisher information, with labels of the model's own."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hfprune.criterion import Aggregation, GradientCriterion
from hfprune.scoring import Positions


class Fisher(GradientCriterion):
    """Σ (h_i · ∂ ln p(y)/∂h_i)², y drawn from the model's own p: diagonal of the true Fisher information.

    Unlike with the corpus's next tokens (the "empirical Fisher"), the expectation of the gradient is zero, so
    what is left is curvature: that of KL(dense ‖ pruned) at the dense model (Martens, arXiv 1412.1193).
    One label per position, whose seed depends on the sequence alone.
    """

    needs_uniform = True

    aggregation: Aggregation = "sum_squares"

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return -ln p(y) in nats [n] for the drawn labels y."""
        return cross_entropy(logits, draw(logits.detach(), positions.uniform), reduction="none")

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p - onehot(y)."""
        labels = draw(logits, positions.uniform)
        p = logits.softmax(-1)
        p[torch.arange(len(p), device=p.device), labels] -= 1
        return p


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token for each row of `logits` [n, vocabulary] by inverting its distribution at `uniform` [n]."""
    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding may leave the last value below 1; scaled, no number in [0, 1) falls beyond it.
    below = uniform.unsqueeze(-1).to(cumulative) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, below, right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)
