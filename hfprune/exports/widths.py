"""Sizes of the layers of an export: neurons and heads of zero weight, which change no output, fill small ones."""

import math
import re
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import pad

from hfprune.models.units import gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LINEAR = re.compile(r"model\.layers\.(\d+)\.(?:mlp|self_attn)\.(gate|up|down|q|k|v|o)_proj\.(weight|bias)")

Sizes = list[dict[str, int]]
"""By layer, the units' side of each linear layer: outputs of gate, up, q, k and v, inputs of down and o."""


def aligned_widths(model: "PreTrainedModel", align: int, equal: bool) -> list[int]:
    """Return each layer's width, rounded up to a multiple of `align`; the largest for all if `equal`."""
    widths = [math.ceil(mlp.count / align) * align for mlp in gated_mlps(model)]
    return [max(widths)] * len(widths) if equal else widths


def sizes_on_disk(model: "PreTrainedModel", widths: list[int]) -> Sizes:
    """Return the sizes of an export with these widths, where all layers have as many heads as the largest."""
    heads = {part: max(_heads(layer, part) for layer in model.model.layers) for part in "qkvo"}
    return [dict.fromkeys(("gate", "up", "down"), width) | heads for width in widths]


def _heads(layer: Any, part: str) -> int:
    linear = getattr(getattr(layer, "self_attn", None), f"{part}_proj", None)
    if linear is None:  # another kind of attention, whose heads no plan cuts
        return 0
    return linear.in_features if part == "o" else linear.out_features


def padded(name: str, tensor: Tensor, sizes: Sizes) -> Tensor:
    """Return a weight of a model, padded to the sizes of its layer: act(0) · 0 = 0, and zero heads give 0.

    Args:
        name: of the parameter in the model.
        tensor: of linear layers it is [outputs, inputs].
        sizes: from `sizes_on_disk`.
    """
    if not (found := _LINEAR.fullmatch(name)):
        return tensor
    layer, matrix, kind = found.groups()
    if not (size := sizes[int(layer)][matrix]):
        return tensor
    if matrix in ("down", "o"):
        return tensor if kind == "bias" else pad(tensor, (0, size - tensor.shape[1]))
    extra = size - tensor.shape[0]
    # The last dimension comes first.
    return pad(tensor, (0, extra) if kind == "bias" else (0, 0, 0, extra))
