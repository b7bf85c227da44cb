"""Rényi entropy."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from hfprune.criteria.entropy import Entropy
from hfprune.scoring import Positions


class Renyi(Entropy):
    """H_α = ln(Σ_j p_j^α) / (1 - α): above α = 1 likely tokens weigh more than in `entropy`, below it less."""

    order: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2
    """α; 1 is Shannon's entropy. Within 0.01 of 1, but not at it, float32 leaves less than four digits."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        if self.order == 1:
            return super().objective(logits, positions)
        log_power = (self.order * logits).logsumexp(-1) - self.order * logits.logsumexp(-1)
        return log_power / (1 - self.order)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z = α (softmax(αz) - softmax(z)) / (1 - α)."""
        if self.order == 1:
            return super().gradient(logits, positions)
        difference = (self.order * logits).softmax(-1).sub_(logits.softmax(-1))
        return difference.mul_(self.order / (1 - self.order))
