"""Entropy of the likeliest tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hfprune.criteria import Positions
from hfprune.criteria.entropy import Entropy

if TYPE_CHECKING:
    from torch import Tensor


class TopKEntropy(Entropy):
    """Entropy of the k likeliest tokens, renormalised: from a choice between two to the full entropy."""

    k: Annotated[int, Field(ge=2)] = 10
    """Number of tokens; at the vocabulary size or above, this is `entropy`."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        return super().objective(logits.topk(min(self.k, logits.shape[-1])).values, positions)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z, which is zero except for the k tokens."""
        import torch

        top = logits.topk(min(self.k, logits.shape[-1]))
        return torch.zeros_like(logits).scatter_(-1, top.indices, super().gradient(top.values, positions))
