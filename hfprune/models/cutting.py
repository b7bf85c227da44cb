"""Keeping some channels of a linear layer: the others are cut away, or zeroed while a hook stays."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def zeroed(linear: nn.Linear, kept: Tensor, channels: int, on: Callable[[], bool]) -> RemovableHandle:
    """Zero, while `on()`, the inputs of units that are not in `kept`; a unit has `channels` successive inputs."""
    mask = torch.zeros(linear.in_features // channels, dtype=linear.weight.dtype)
    mask[kept.cpu()] = 1
    mask = mask.repeat_interleave(channels).to(linear.weight.device)
    return linear.register_forward_pre_hook(lambda _, inputs: (inputs[0] * mask,) if on() else None)


def cut(linear: nn.Linear, index: Tensor, dimension: int) -> None:
    """Keep the rows (dimension 0) or the columns (1) of a linear layer that `index` names, in place."""
    linear.weight = nn.Parameter(linear.weight.index_select(dimension, index), requires_grad=False)
    linear.out_features, linear.in_features = linear.weight.shape
    if dimension == 0 and linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.index_select(0, index), requires_grad=False)
