"""Some layers of a model by themselves: they read the output of the layers before them."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hfprune.models.head import hidden_states
from hfprune.models.replacing import forward_replaced

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def read_layers(
    model: "PreTrainedModel",
    tokens: Tensor,
    layers: range,
    state: Tensor | None,
    watched: Sequence[nn.Module],
) -> tuple[list[Tensor], Tensor]:
    """Run some layers on tokens [batch, length]; `state` is the output of the layers before them.

    The model's own forward pass makes positions and masks, so that every architecture is right.

    Returns:
        The input of each watched module, and the output of the last of these layers.
    """
    decoder, whole, seen = model.model, model.model.layers, {}
    with ExitStack() as stack:
        for layer in whole[: layers.start]:
            stack.enter_context(forward_replaced(layer, lambda *_, **__: state))
        for module in (*watched, whole[layers.stop - 1]):
            hook = module.register_forward_hook(
                lambda module, x, output: seen.update({module: (x[0], output)})
            )
            stack.callback(hook.remove)
        stack.callback(setattr, decoder, "layers", whole)
        decoder.layers = whole[: layers.stop]
        hidden_states(model, tokens.to(model.device, torch.int64))
    return [seen[module][0] for module in watched], seen[whole[layers.stop - 1]][1]
