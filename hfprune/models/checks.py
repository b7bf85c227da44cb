"""Numerical checks that the head, MLPs and attention of a model compute what all other code assumes."""

from collections.abc import Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hfprune.errors import REASON, HfpruneError, explained
from hfprune.models.fused import linear_of
from hfprune.models.head import hidden_states, logits
from hfprune.models.supported import supported
from hfprune.models.units import KeyValueGroups, Neurons, attentions, gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def check_model(model: "PreTrainedModel") -> None:
    """Check that scoring and evaluation can call the layers and the head of `model` separately.

    Raises:
        HfpruneError: an MLP is not gated, or does not compute `down(act(gate(x)) * up(x))`; or
            `hfprune.models.head` does not support the head: its logits differ from those of the model's own
            forward pass.
    """
    name = type(model).__name__
    formula = "down_proj(act_fn(gate_proj(x)) * up_proj(x))"
    for index, mlp in enumerate(gated_mlps(model)):
        # `Exception`: an MLP may raise anything if it expects more of its layers.
        with explained(f"{name}: layer {index} has an MLP other than {formula}; {supported()}", Exception):
            if not _is_gated(mlp):
                raise ValueError
    tokens = _few_tokens(model)
    layers = model.model.layers
    model.model.layers = nn.ModuleList()  # the head does not depend on them
    try:
        text = f"{name} does not run on tokens alone ({REASON}); {supported()}"
        with explained(text, ValueError, TypeError):
            expected = model(input_ids=tokens).logits
            ours = logits(model, hidden_states(model, tokens)).to(expected.device)
    finally:
        model.model.layers = layers
    # The same operations in the same order, so even rounding is the same.
    if not torch.allclose(ours, expected, rtol=0, atol=0, equal_nan=True):
        raise HfpruneError(
            f"{name} transforms its logits after the head in an unsupported way; {supported()}"
        )


def _is_gated(mlp: Neurons) -> bool:
    """Tell whether an MLP computes the formula of `Neurons`, with small layers in place of its own.

    Small layers take no time, and rounding in the model's dtype cannot hide a factor.
    """
    x = torch.linspace(-1, 1, 16, device=mlp.device).view(1, 2, 8)
    weights = (torch.sin(torch.arange(32.0, device=mlp.device) + shift) for shift in range(3))
    shapes = ((4, 8), (4, 8), (8, 4))
    small = [linear_of(weight.view(shape)) for weight, shape in zip(weights, shapes, strict=True)]
    parts = ("gate_proj", "up_proj", "down_proj")
    try:
        for part, linear in zip(parts, small, strict=True):
            setattr(mlp.module, part, linear)
        gate, up, down = small
        return agree(mlp.module(x), down(mlp.activation(gate(x)) * up(x)))
    finally:
        for part, linear in zip(parts, mlp.linears, strict=True):
            setattr(mlp.module, part, linear)


@torch.no_grad()
def check_groups(model: "PreTrainedModel") -> None:
    """Check that attention cut to some key-value groups computes the same as with the other groups set to zero.

    Raises:
        HfpruneError: the heads of a layer cannot be cut separately; names the layer.
    """
    with ExitStack() as stack:
        for groups in attentions(model):
            hook = partial(_compare_cut, type(model).__name__, groups)
            stack.callback(groups.module.register_forward_hook(hook, with_kwargs=True).remove)
        hidden_states(model, _few_tokens(model))


def _compare_cut(
    name: str, groups: KeyValueGroups, module: nn.Module, args: Any, kwargs: Mapping[str, Any], _output: Any
) -> None:
    kept = torch.arange(0, groups.count, 2)
    (handle,) = groups.mask(kept, lambda: True)
    try:
        expected = module.forward(*args, **kwargs)[0]
    finally:
        handle.remove()
    twin: Any = deepcopy(module)
    parts = {part: getattr(twin, f"{part}_proj") for part in "qkvo"}
    replace(groups, module=twin, **parts).keep(kept)
    text = f"{name}: the heads of {groups.name} cannot be cut separately ({REASON}); prune neurons"
    with explained(text, Exception):
        if not agree(twin.forward(*args, **kwargs)[0], expected):
            raise ValueError("others change, too")


def agree(computed: Tensor, expected: Tensor) -> bool:
    """Tell whether values agree in half the digits of their dtype; kernels of other shapes round differently."""
    allowed = torch.finfo(expected.dtype).eps ** 0.5
    computed, expected = computed.float().nan_to_num(), expected.float().nan_to_num()  # float16 may overflow
    if computed.shape != expected.shape:
        return False
    return bool((computed - expected).norm() <= allowed * expected.norm())


def _few_tokens(model: "PreTrainedModel") -> Tensor:
    return torch.arange(4, device=model.device).unsqueeze(0)
