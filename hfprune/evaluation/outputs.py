"""A model's hidden states for texts, shared by the measures that read the same text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.models.head import Head

# Bytes of main memory for the shared states of a model; further texts are read by each measure. A model of 1.5
# billion parameters takes 25 MB in float32 for 32 blocks of 128 tokens.
KEPT = 2**28


@dataclass
class Outputs:
    """The hidden states of a model for the texts that it has read."""

    states: "dict[tuple[bytes, int, int], Tensor]" = field(default_factory=dict)
    """Last hidden states [blocks, length, width] on the CPU, by text, number of blocks and batch."""
    head: "Head | None" = None
    """Turns the states into logits after the model is released."""

    def read(
        self, model: "PreTrainedModel", tokens: "Tensor", batch: int
    ) -> "Iterator[tuple[Tensor, Tensor]]":
        """Yield `batch` blocks at a time with their last hidden states; see `Subject.read`."""
        import torch

        from hfprune.models.head import at_head, hidden_states

        key = key_of(tokens, batch)
        parts = (part.to(model.device, torch.int64) for part in tokens.split(batch))
        if key in self.states:
            for part, states in zip(parts, self.states[key].split(batch), strict=True):
                yield part, at_head(model, states.clone())
            return
        kept = None
        for number, part in enumerate(parts):
            hidden = hidden_states(model, part)
            if not number and self._has_room(len(tokens) * hidden[0].nbytes):
                kept = torch.empty((*tokens.shape, hidden.shape[-1]), dtype=hidden.dtype)
            if kept is not None:
                kept[number * batch :][:batch] = hidden
            yield part, hidden
        if kept is not None:
            self.states[key] = kept

    def _has_room(self, size: int) -> bool:
        return size + sum(states.nbytes for states in self.states.values()) <= KEPT


def key_of(tokens: "Tensor", batch: int) -> tuple[bytes, int, int]:
    """Return a key of a text, its number of blocks and their batches, on which results depend slightly."""
    return sha256(tokens.cpu().numpy().tobytes()).digest(), len(tokens), batch
