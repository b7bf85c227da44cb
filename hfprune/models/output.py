"""The output of a model over blocks of tokens, kept so that the model itself need not stay in memory."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.models.head import Head, hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Output(NamedTuple):
    """The last hidden states of a model, and its head, which makes logits of them."""

    states: Tensor
    """[blocks, length, width] in the model's dtype, on the CPU."""
    head: Head


def output(model: "PreTrainedModel", tokens: Tensor, batch: int) -> Output:
    """Return the output of a model for blocks of tokens.

    Args:
        model: may change, or go, afterwards.
        tokens: int [blocks, length].
        batch: blocks of one forward pass.
    """
    states = torch.empty((*tokens.shape, model.config.hidden_size), dtype=model.dtype)
    with torch.inference_mode(), tqdm(total=len(tokens), desc="dense model", unit="block") as bar:
        for part, target in zip(tokens.split(batch), states.split(batch), strict=True):
            target.copy_(hidden_states(model, part.to(model.device, torch.int64)))
            bar.update(len(part))
    return Output(states, Head.of(model))
