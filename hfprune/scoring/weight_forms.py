"""Scores in weight form: from the gradients of a neuron's weights instead of its activation's gradient."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hfprune.models.units import Neurons


@dataclass(frozen=True)
class WeightForm:
    """Two functions: one for each sequence's share, and one for the scores from the summed shares.

    They read the weights w and one sequence's gradients G, both float32 [3, neurons, hidden]: gate, up and
    transposed down projection.
    """

    share: Callable[[Tensor, Tensor], Tensor]
    """Returns the sequence's share, of any shape, from w and G."""
    finish: Callable[[Tensor, Tensor], Tensor]
    """Returns the scores [neurons] from w and the sum of the shares over sequences."""


def _param_mix(weights: Tensor, sums: Tensor) -> Tensor:
    first, second = sums
    return (weights * first - 0.5 * weights.square() * second).abs().sum((0, 2))


# The published formulas divide by the number of sequences; this changes no ranking and is left out.
WEIGHT_FORMS = {
    "param_first": WeightForm(lambda w, g: g, lambda w, sums: (w * sums).abs().sum((0, 2))),
    "param_second": WeightForm(lambda w, g: (w * g).square().sum((0, 2)), lambda w, sums: sums),
    "param_mix": WeightForm(lambda w, g: torch.stack([g, g.square()]), _param_mix),
    "vectorize": WeightForm(lambda w, g: (w * g).sum(2), lambda w, sums: sums.abs().sum(0)),
    "joint": WeightForm(lambda w, g: (w * g).sum(0).abs().mean(1), lambda w, sums: sums),
}


def stacked_weights(mlp: Neurons) -> Tensor:
    """Return gate, up and transposed down projection, float32 [3, neurons, hidden]."""
    return torch.stack([mlp.gate.weight, mlp.up.weight, mlp.down.weight.T]).float()


def weight_gradients(x: Tensor, gate: Tensor, up: Tensor, h: Tensor, output: Tensor) -> Iterator[Tensor]:
    """Yield each sequence's gradients of gate, up and transposed down, float32 [3, neurons, hidden].

    They are computed in the model's dtype, as by autograd, but for one sequence at a time.

    Args:
        x: input of gate and up [sequences, length, hidden].
        gate: gradient of the output of gate [sequences, length, neurons].
        up: gradient of the output of up [sequences, length, neurons].
        h: input of down [sequences, length, neurons].
        output: gradient of the output of down [sequences, length, hidden].
    """
    for n in range(len(x)):
        yield torch.stack([gate[n].T @ x[n], up[n].T @ x[n], h[n].T @ output[n]]).float()
