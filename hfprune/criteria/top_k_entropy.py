"""Entropy of the likeliest tokens."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hfprune.criteria.entropy import Entropy
from hfprune.scoring import Positions


class TopKEntropy(Entropy):
    """Entropy of the distribution renormalised to its k likeliest tokens: from two-way choice to full entropy."""

    k: Annotated[int, Field(ge=2)] = 10
    """Number of tokens; with the whole vocabulary, or more, this is `entropy`."""

    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the entropy in nats [n]."""
        return super().objective(logits.topk(min(self.k, logits.shape[-1])).values, positions)

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂H/∂z, zero but for the k tokens."""
        top = logits.topk(min(self.k, logits.shape[-1]))
        return torch.zeros_like(logits).scatter_(-1, top.indices, super().gradient(top.values, positions))
