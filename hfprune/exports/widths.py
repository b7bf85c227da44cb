"""Widths of the MLPs of an export: neurons of zero weight, which change no output, make narrow ones wider."""

import math
import re
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from hfprune.models.units import gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MLP = re.compile(r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.(weight|bias)")


def aligned_widths(model: "PreTrainedModel", align: int, equal: bool) -> list[int]:
    """Return each layer's width, rounded up to a multiple of `align`; the largest for all if `equal`."""
    widths = [math.ceil(mlp.count / align) * align for mlp in gated_mlps(model)]
    return [max(widths)] * len(widths) if equal else widths


def padded(name: str, tensor: Tensor, widths: list[int]) -> Tensor:
    """Return a weight of a model, padded to the width of its layer if it is of an MLP; act(0) · 0 = 0.

    Args:
        name: of the parameter in the model.
        tensor: gate and up are [width, hidden], down is [hidden, width].
        widths: one for each layer.
    """
    if not (found := _MLP.fullmatch(name)):
        return tensor
    layer, matrix, kind = found.groups()
    if matrix == "down":
        return tensor if kind == "bias" else pad(tensor, (0, widths[int(layer)] - tensor.shape[1]))
    extra = widths[int(layer)] - tensor.shape[0]
    # The last dimension comes first.
    return pad(tensor, (0, extra) if kind == "bias" else (0, 0, 0, extra))
