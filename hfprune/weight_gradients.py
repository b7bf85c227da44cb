"""Scores in weight form: from the gradients of a neuron's weights instead of that of its activation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hfprune.models import GatedMLP


@dataclass(frozen=True)
class WeightForm:
    """How weights w and their gradients G by one sequence become its share, and summed shares the scores.

    Both w and G are float32 [3, neurons, hidden]: gate, up and transposed down projection.
    """

    share: Callable[[Tensor, Tensor], Tensor]
    """From w and G to the sequence's share, of any shape."""
    finish: Callable[[Tensor, Tensor], Tensor]
    """From w and the shares' sum over sequences to scores [neurons]."""

    def empty(self, mlp: GatedMLP) -> Tensor:
        """Return a zero sum. Float64, but float32 for sums as large as the weights: there is one per layer."""
        weights = torch.empty(3, mlp.width, mlp.gate.in_features, device="meta")
        shape = self.share(weights, weights).shape
        dtype = torch.float64 if len(shape) < 3 else torch.float32
        return torch.zeros(shape, dtype=dtype, device=mlp.down.weight.device)


def _param_mix(weights: Tensor, sums: Tensor) -> Tensor:
    first, second = sums
    return (weights * first - 0.5 * weights.square() * second).abs().sum((0, 2))


# Numbers of sequences that divide sums in the published formulas are left out: they change no ranking.
WEIGHT_FORMS = {
    "param_first": WeightForm(lambda w, g: g, lambda w, sums: (w * sums).abs().sum((0, 2))),
    "param_second": WeightForm(lambda w, g: (w * g).square().sum((0, 2)), lambda w, sums: sums),
    "param_mix": WeightForm(lambda w, g: torch.stack([g, g.square()]), _param_mix),
    "vectorize": WeightForm(lambda w, g: (w * g).sum(2), lambda w, sums: sums.abs().sum(0)),
    "joint": WeightForm(lambda w, g: (w * g).sum(0).abs().mean(1), lambda w, sums: sums),
}


def stacked_weights(mlp: GatedMLP) -> Tensor:
    """Return gate, up and transposed down projection, float32 [3, neurons, hidden]."""
    return torch.stack([mlp.gate.weight, mlp.up.weight, mlp.down.weight.T]).float()


def weight_gradients(x: Tensor, gate: Tensor, up: Tensor, h: Tensor, output: Tensor) -> Iterator[Tensor]:
    """Yield the gradients of gate, up and transposed down projection, float32 [3, neurons, hidden], by sequence.

    As autograd would give them, in the model's dtype first, but those of one sequence at a time.

    Args:
        x: input of gate and up [sequences, length, hidden].
        gate: gradient of the output of gate [sequences, length, neurons].
        up: gradient of the output of up [sequences, length, neurons].
        h: input of down [sequences, length, neurons].
        output: gradient of the output of down [sequences, length, hidden].
    """
    for n in range(len(x)):
        yield torch.stack([gate[n].T @ x[n], up[n].T @ x[n], h[n].T @ output[n]]).float()
