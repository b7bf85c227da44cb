"""Weights of a loaded model, dense or pruned, rounded in memory to 8 or 4 bits."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Inputs of a channel that share a scale in 4 bits; and the multiple of channels that the kernels need.
GROUP, ROWS = 32, 16
# Most rows of a product for which the 8-bit kernel is faster than expanding the weights.
FEW = 16
# torch's own products of bfloat16 with such weights on a CPU; in 4 bits torch has one since 2.6.
KERNELS = ("_weight_int8pack_mm", "_weight_int4pack_mm_for_cpu")


class Quantised(nn.Module):
    """A linear layer whose weights are integers of few bits with scales in bfloat16; its bias is not quantised.

    In 8 bits, a channel has one scale, its largest absolute weight over 127. In 4 bits, every 32 inputs of a
    channel have 16 levels from their least to their largest weight, given by a scale and the level 8: five bits
    per weight in all, as in Q4_1 of llama.cpp. Inputs are padded to a multiple of 32 and channels to one of 16.

    On a CPU, bfloat16 is multiplied by torch's own kernels (`fast`), in 8 bits for up to `FEW` rows, such as a
    step of decoding. Otherwise the weights are expanded in each pass.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__()
        self.bits, self.bias = bits, layer.bias
        self.out_features, self.in_features = layer.weight.shape
        on_cpu, in_bfloat16 = layer.weight.device.type == "cpu", layer.weight.dtype == torch.bfloat16
        self.fast = on_cpu and in_bfloat16 and all(hasattr(torch.ops.aten, kernel) for kernel in KERNELS)
        padded = _filled(layer.weight.detach().float())
        codes, scales = _by_channel(padded) if bits == 8 else _by_group(padded)
        if bits == 4 and self.fast:
            codes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
            scales = scales.transpose(0, 1).contiguous()  # as the kernel takes them: [groups, channels, 2]
        elif bits == 4:
            codes = codes[:, ::2] | codes[:, 1::2] << 4
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    def forward(self, states: Tensor) -> Tensor:
        """Return states [..., in] times the weights, plus the bias: [..., out]."""
        rows = pad(states.flatten(0, -2), (0, -self.in_features % GROUP)).contiguous()
        if self.fast and self.bits == 4:
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.codes, GROUP, self.scales)
        elif self.fast and len(rows) <= FEW:
            product = torch.ops.aten._weight_int8pack_mm(rows, self.codes, self.scales)
        else:
            product = linear(rows, self._expanded(states.dtype))
        product = product[:, : self.out_features].unflatten(0, states.shape[:-1])
        return product if self.bias is None else product + self.bias

    def _expanded(self, dtype: torch.dtype) -> Tensor:
        """Return the weights with padding [channels, inputs]."""
        scales = self.scales.to(dtype)
        if self.bits == 8:
            return self.codes.to(dtype) * scales[:, None]
        codes = torch.stack([self.codes & 15, self.codes >> 4], -1).flatten(1).to(dtype)
        levels = codes.unflatten(1, (-1, GROUP)) - 8
        return (levels * scales[..., :1] + scales[..., 1:]).flatten(1)


def _filled(weight: Tensor) -> Tensor:
    """Pad to whole groups and multiples of channels by the last column and row, which adds no level."""
    rows, columns = (
        torch.arange(size + -size % most, device=weight.device).clamp(max=size - 1)
        for size, most in zip(weight.shape, (ROWS, GROUP), strict=True)
    )
    return weight[rows][:, columns]


def _by_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes from -127 to 127 [channels, inputs], and scales [channels]."""
    scales = _scale(weight.abs().amax(1) / 127)
    return (weight / scales[:, None].float()).round().clamp(-127, 127).to(torch.int8), scales


def _by_group(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes from 0 to 15 [channels, inputs], and scale and level 8 of each group [channels, groups, 2]."""
    groups = weight.unflatten(1, (-1, GROUP))
    least, most = groups.aminmax(dim=-1, keepdim=True)
    scale = _scale((most - least) / 15)
    middle = (least + 8 * scale.float()).bfloat16()
    codes = ((groups - middle.float()) / scale.float()).round() + 8
    return codes.clamp(0, 15).to(torch.uint8).flatten(1), torch.cat([scale, middle], -1)


def _scale(distance: Tensor) -> Tensor:
    return distance.bfloat16().clamp(min=torch.finfo(torch.bfloat16).tiny)  # weights may all be equal


def quantise(model: "PreTrainedModel", bits: int | None) -> "PreTrainedModel":
    """Quantise all linear layers within the decoder layers in place; embeddings, head and norms do not change.

    With `bits` None, nothing changes.
    """
    for layer in model.model.layers:
        for name, module in [*layer.named_modules()]:
            if bits and isinstance(module, nn.Linear):
                layer.set_submodule(name, Quantised(module, bits))
    return model


def quantised_layers(model: nn.Module) -> list[Quantised]:
    """Return the quantised linear layers."""
    return [module for module in model.modules() if isinstance(module, Quantised)]


def bytes_of_weights(model: nn.Module) -> int:
    """Count the bytes of the weights as the model stores them; tied weights count once."""
    coded = [tensor for layer in quantised_layers(model) for tensor in layer.buffers()]
    return sum(tensor.nbytes for tensor in (*model.parameters(), *coded))


def count_weights(model: nn.Module) -> int:
    """Count the parameters, quantised ones included; tied weights count once."""
    coded = sum(layer.out_features * layer.in_features for layer in quantised_layers(model))
    return coded + sum(parameter.numel() for parameter in model.parameters())


def _operations(rows: tuple[int, int], *_: Any, out_shape: tuple[int, int], **__: Any) -> int:
    return 2 * math.prod(rows) * out_shape[-1]


# How torch's counter of operations counts the kernels: padding included.
OPERATIONS = {
    getattr(torch.ops.aten, kernel): _operations for kernel in KERNELS if hasattr(torch.ops.aten, kernel)
}
