"""Fisher information, with labels drawn from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import Aggregation, Positions
from hfprune.criteria.cross_entropy import CrossEntropy

if TYPE_CHECKING:
    from torch import Tensor


class Fisher(CrossEntropy):
    """Σ (h_i · ∂ ln p(y)/∂h_i)², y drawn from the model's own p: diagonal of the true Fisher information.

    With the corpus's next tokens as labels it would be the "empirical Fisher". With drawn labels the expected
    gradient is zero, so the score measures the curvature of KL(dense ‖ pruned) at the dense model (Martens,
    arXiv 1412.1193). Each position has one label; its seed depends on the sequence alone. With `sum_abs` it is
    cross-entropy on drawn tokens.
    """

    needs_targets = False
    needs_uniform = True

    aggregation: Aggregation = "sum_squares"

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return -ln p(y) in nats [n] for the drawn labels y."""
        return super().objective(logits, Positions(targets=draw(logits.detach(), positions.uniform)))

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p - onehot(y)."""
        return super().gradient(logits, Positions(targets=draw(logits, positions.uniform)))


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token for each row of `logits` [n, vocabulary] by inverse transform sampling (`uniform` [n])."""
    import torch

    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding may leave the last value below 1; scaling keeps every number in [0, 1) below it.
    below = uniform.unsqueeze(-1).to(cumulative) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, below, right=True).squeeze(-1).clamp_max(logits.shape[-1] - 1)
