"""Fisher information, with labels drawn from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, get_args

from pydantic import Field, PositiveInt, model_validator

from hfprune.criteria import ActivationForm, Aggregation, Positions
from hfprune.criteria.cross_entropy import CrossEntropy

if TYPE_CHECKING:
    from torch import Tensor


class Fisher(CrossEntropy):
    """Σ (h_i · ∂ ln p(y)/∂h_i)², y drawn from the model's own p: diagonal of the true Fisher information.

    With the corpus's next tokens as labels it would be the "empirical Fisher". With drawn labels the expected
    gradient is zero, so the score measures the curvature of KL(dense ‖ pruned) at the dense model (Martens,
    arXiv 1412.1193). The seed of a position's label depends on the sequence alone. With `sum_abs` it is
    cross-entropy on drawn tokens.
    """

    needs_targets = False
    needs_uniform = True

    aggregation: Aggregation = "sum_squares"
    # Left out of records where it is 1, so that scores from before this option are not made again.
    labels: PositiveInt = Field(default=1, exclude_if=lambda labels: labels == 1)
    """Labels of each position, independent. Each has a backward pass, and a score is the mean of what each gives:
    that of the mean of their gradients would tend to zero."""

    @model_validator(mode="after")
    def _labels_of_an_activation_form(self) -> Self:
        if self.labels > 1 and self.aggregation not in get_args(ActivationForm):
            forms = ", ".join(get_args(ActivationForm))
            raise ValueError(f"labels: {self.aggregation} takes one; aggregations that take several: {forms}")
        return self

    @property
    def backward_passes(self) -> int:
        """The number of labels."""
        return self.labels

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return -ln p(y) in nats [n] for the drawn labels y."""
        return super().objective(logits, _labelled(logits.detach(), positions))

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂C/∂z = p - onehot(y)."""
        return super().gradient(logits, _labelled(logits, positions))


def _labelled(logits: Tensor, positions: Positions) -> Positions:
    from hfprune.models.head import draw_tokens

    return Positions(targets=draw_tokens(logits, positions.uniform))
