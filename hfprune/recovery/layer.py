"""A frozen linear layer with a low-rank adapter (LoRA), which passes over its activations as rarely as it can.

peft computes `base(x) + up(down(dropout(x))) * scale` in separate operations, each of which autograd keeps: for
seven adapters a layer, these passes over memory take as long as all products of matrices. Here the adapter's
output is added within the product, the scale goes to the rank's few numbers, and dropout writes what it drops.
"""

from math import ceil, log1p, sqrt
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import linear


class Adapted(Linear):
    """peft's LoRA layer of `nn.Linear` in training, with the same parameters under the same names."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the layer's output for x [..., inputs], in the dtype of `x`."""
        (name,) = self.active_adapters
        dropout = getattr(self.lora_dropout[name], "p", 0.0) if self.training else 0.0
        scale = self.scaling[name] / (1 - dropout)
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return _Sum.apply(x, down, up, self.get_base_layer(), scale, dropout)  # type: ignore[no-any-return]


class _Sum(torch.autograd.Function):
    """base(x) + scale · up(down(x)), where `down` reads zeros in place of what dropout drops."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, down: Tensor, up: Tensor, base: nn.Linear, scale: float, dropout: float
    ) -> Tensor:
        rows = x.flatten(0, -2)
        ctx.dtype = down.dtype
        down, up = down.to(x.dtype), up.to(x.dtype)
        dropped = _drawn(rows, dropout) if dropout else None
        inner = _zeroed(rows, dropped) @ down.T
        out = linear(rows, base.weight, base.bias).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(rows, down, up, inner, dropped)
        ctx.base, ctx.scale = base, scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows, down, up, inner, dropped = ctx.saved_tensors
        of_out = gradient.flatten(0, -2)
        of_inner = (of_out @ up).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = of_out @ ctx.base.weight
            if dropped is None:
                of_x.addmm_(of_inner, down)
            else:
                of_x += (of_inner @ down).view(-1).index_fill_(0, dropped, 0).view_as(of_x)
            of_x = of_x.view(*gradient.shape[:-1], -1)
        of_down = of_inner.T @ _zeroed(rows, dropped)
        of_up = (of_out.T @ inner).mul_(ctx.scale)
        return of_x, of_down.to(ctx.dtype), of_up.to(ctx.dtype), None, None, None


def _drawn(x: Tensor, dropout: float) -> Tensor:
    """Return the indices of the numbers that dropout drops, ascending, each with the same probability.

    Only the gaps between them are drawn, from a geometric distribution, since they are few. An index may repeat.
    """
    expected = x.numel() * dropout
    draws = ceil(expected + 8 * sqrt(expected) + 8)  # too few for the last numbers once in 10^15
    gaps = torch.rand(draws, device=x.device, dtype=torch.float64).neg_().log1p_().div_(log1p(-dropout))
    found = gaps.long().add_(1).cumsum(0) - 1
    # Those beyond the end become the first, since cutting them off would wait for a GPU to know their number.
    return found.where(found < x.numel(), found[0].clamp_max(x.numel() - 1))


def _zeroed(x: Tensor, dropped: Tensor | None) -> Tensor:
    return x if dropped is None else x.clone().view(-1).index_fill_(0, dropped, 0).view_as(x)
