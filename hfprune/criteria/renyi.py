"""Rényi entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hfprune.criteria import Positions
from hfprune.criteria.entropy import Entropy

if TYPE_CHECKING:
    from torch import Tensor


class Renyi(Entropy):
    """H_α = ln(Σ_j p_j^α) / (1 - α): likely tokens weigh more than in `entropy` if α > 1, less if α < 1."""

    order: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2
    """α; 1 is Shannon's entropy. Within 0.01 of 1, but not at 1, float32 leaves fewer than four digits."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        if self.order == 1:
            return super().objective(logits, positions)
        log_power = (self.order * logits).logsumexp(-1) - self.order * logits.logsumexp(-1)
        return log_power / (1 - self.order)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z = α (softmax(αz) - softmax(z)) / (1 - α).

        Both are normalised again, since rounding leaves a sum that is only roughly zero (see `entropy`).
        """
        if self.order == 1:
            return super().gradient(logits, positions)
        power, p = (self.order * logits).softmax(-1), logits.softmax(-1)
        difference = power.div_(power.sum(-1, keepdim=True)).sub_(p.div_(p.sum(-1, keepdim=True)))
        difference.sub_(p.mul_(difference.sum(-1, keepdim=True)))
        return difference.mul_(self.order / (1 - self.order))
