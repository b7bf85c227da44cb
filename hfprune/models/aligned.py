"""Widths padded to multiples, for matrix products that are fast at these widths only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import pad

from hfprune.models.units import gated_mlps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def aligned(model: "PreTrainedModel", align: int) -> Iterator[None]:
    """Pad the width of every MLP to a multiple of `align` in memory, until the block ends.

    The added neurons have zero weights, so that they give act(0) · 0 = 0 and change no output, up to the rounding
    of another kernel. In 16 bits, cuBLAS has fast kernels for widths of whole 16 bytes, that is for multiples of
    8. `in_features` and `out_features` keep the true widths, for whatever counts operations by them.
    """
    whole: list[tuple[nn.Linear, Tensor, Tensor | None]] = []
    try:
        for mlp in gated_mlps(model) if align > 1 else ():
            if not (extra := -mlp.count % align):
                continue
            whole += [(linear, linear.weight, linear.bias) for linear in (mlp.gate, mlp.up, mlp.down)]
            mlp.down.weight = _padded(mlp.down.weight, (0, extra))
            for linear in (mlp.gate, mlp.up):
                linear.weight = _padded(linear.weight, (0, 0, 0, extra))
                if linear.bias is not None:
                    linear.bias = _padded(linear.bias, (0, extra))
        yield
    finally:
        for linear, weight, bias in whole:
            linear.weight, linear.bias = weight, bias  # type: ignore[assignment]


def _padded(weight: Tensor, sides: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(pad(weight.detach(), sides), requires_grad=False)
