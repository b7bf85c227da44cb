"""Fused linear layers, as in Phi-3 and GLM-4: separate in memory, joined in a checkpoint.

All other code finds the parts under their names in LLaMA.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Fused layer → its parts in the order of its rows.
PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "qkv_proj": ("q_proj", "k_proj", "v_proj")}


def separate(model: "PreTrainedModel") -> None:
    """Replace each fused layer of the decoder by its parts, which share its memory; the model computes the same.

    Other models, and encoders of images and sound beside a decoder, do not change.
    """
    decoder = getattr(getattr(model, "model", None), "layers", None)
    for module in [*decoder.modules()] if isinstance(decoder, nn.ModuleList) else ():
        for name, parts in PARTS.items():
            fused = getattr(module, name, None)
            if not isinstance(fused, nn.Linear):
                continue
            rest = None
            if name == "qkv_proj":
                # Layers of a compact export differ in their groups.
                groups = getattr(module, "num_key_value_heads", model.config.num_key_value_heads)
                rest = groups * module.head_dim
            rows = [fused.out_features - 2 * rest, rest, rest] if rest else [fused.out_features // 2] * 2
            biases = [None] * len(parts) if fused.bias is None else fused.bias.split(rows)
            delattr(module, name)
            for part, weight, bias in zip(parts, fused.weight.split(rows), biases, strict=True):
                module.add_module(part, linear_of(weight, bias))
            # A function, not a module, so that weights and adapters have the parts' names only.
            setattr(module, name, partial(_together, module, parts))
            if hasattr(module, "activation_fn"):
                module.act_fn = module.activation_fn


def joined(state: Mapping[str, Tensor], names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield a model's weights under the names of a checkpoint, with the parts of fused layers joined."""
    for name in names:
        if name in state:
            yield name, state[name]
            continue
        whole = name.split(".")[-2]
        yield name, torch.cat([state[name.replace(whole, part)] for part in PARTS[whole]])


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a frozen linear layer with these weights [out, in], without copying them."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def _together(module: Any, parts: Iterable[str], inputs: Tensor) -> Tensor:
    return torch.cat([getattr(module, part)(inputs) for part in parts], -1)
