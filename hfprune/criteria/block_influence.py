"""ShortGPT's block influence: how much a decoder layer changes the hidden state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfprune.criteria import LayerCriterion

if TYPE_CHECKING:
    from torch import Tensor

    from hfprune.models.units import Layers


class BlockInfluence(LayerCriterion):
    """1 - mean cos(x_in, x_out) of a decoder layer over all tokens (ShortGPT, arXiv 2403.03853, Eq. 1)."""

    def shares(self, x_in: Tensor, x_out: Tensor) -> Tensor:
        """Return Σ_t cos(x_in, x_out) and the number of tokens [sequences, 2]."""
        import torch

        # float32 whatever the model's dtype: the cosines are close to 1, and small differences decide.
        cosines = torch.nn.functional.cosine_similarity(x_in, x_out, dim=-1).double()
        return torch.stack([cosines.sum(1), torch.ones_like(cosines).sum(1)], 1)

    def finish(self, layers: Layers, statistic: Tensor) -> Tensor:
        """Return the influence [layers]."""
        return 1 - statistic[:, 0] / statistic[:, 1]
