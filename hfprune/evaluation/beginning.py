"""The beginning that many prompts share, such as few-shot examples: read once, and kept in a KV cache."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor
from transformers import DynamicCache

from hfprune.evaluation.prefix_tree import SHORTEST, by_window, common_prefix, window_of
from hfprune.models.head import at_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Beginning(NamedTuple):
    """Tokens, and each layer's keys and values [1, heads, length, width] for them."""

    tokens: list[int]
    states: list[tuple[Tensor, Tensor]]

    @classmethod
    def read(cls, model: "PreTrainedModel", tokens: list[int]) -> Self:
        """Run the model on tokens and keep its keys and values."""
        cache, length = DynamicCache(), len(tokens)
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=model.device).tril_()
        depths = torch.arange(length, device=model.device).unsqueeze(0)
        inputs = torch.tensor([tokens], device=model.device)
        with torch.inference_mode():
            _states(model, inputs, by_window(model.config, mask, depths), depths, cache)
        layers: list[Any] = cache.layers
        return cls(tokens, [(layer.keys, layer.values) for layer in layers])

    @classmethod
    def shared_by(
        cls, rows: Sequence[list[int]], model: "PreTrainedModel", before: Self | None
    ) -> Self | None:
        """Return the beginning that prompts share, at most all but their last tokens; None if it is too short.

        The beginning `before` is reused, cut off, if it has more than half of the shared one. A model with a
        window has none, since the window would count the padding that follows.
        """
        if window_of(model.config):
            return None
        shared = min(common_prefix(rows[0], row) for row in rows)
        shared = min(shared, *(len(row) - 1 for row in rows))
        if shared < SHORTEST or (len(rows) == 1 and before is None):
            return None
        kept = min(shared, common_prefix(rows[0], before.tokens)) if before else 0
        if before and 2 * kept > shared:
            return cls(before.tokens[:kept], [(k[:, :, :kept], v[:, :, :kept]) for k, v in before.states])
        return cls.read(model, rows[0][:shared])

    def cache(self, rows: int) -> DynamicCache:
        """Return a cache for `rows` prompts with this beginning; later tokens are added to this copy alone."""
        return DynamicCache(
            [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in self.states]
        )

    def continued(self, model: "PreTrainedModel", tokens: Tensor, mask: Tensor, depths: Tensor) -> Tensor:
        """Return the last hidden states [rows, nodes, width] for tokens [rows, nodes] after the beginning.

        The boolean mask [rows, 1, nodes, nodes] is among these tokens, and `depths` [rows, nodes] count from the
        first token of the beginning.
        """
        masks = by_window(model.config, mask, depths, len(self.tokens))
        return at_head(model, _states(model, tokens, masks, depths, self.cache(len(tokens))))


def _states(
    model: "PreTrainedModel",
    tokens: Tensor,
    mask: Tensor | dict[str, Tensor],
    depths: Tensor,
    cache: DynamicCache,
) -> Tensor:
    # Positional arguments, since versions of transformers name the cache differently.
    return model.model(tokens, mask, depths, cache).last_hidden_state
