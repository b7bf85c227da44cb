"""Scores in weight form: from the gradients of a unit's weights instead of its activation's gradient."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hfprune.models.units import Units


@dataclass(frozen=True)
class WeightForm:
    """Two functions: one for each sequence's share, and one for the scores from the summed shares.

    They read the weights w and one sequence's gradients G, both float32 [vectors, units, hidden]: those of gate,
    up and transposed down projection for neurons; of q, k, v and transposed o projection for key-value groups.
    """

    share: Callable[[Tensor, Tensor], Tensor]
    """Returns the sequence's share, of any shape, from w and G."""
    finish: Callable[[Tensor, Tensor], Tensor]
    """Returns the scores [units] from w and the sum of the shares over sequences."""


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


def stacked_weights(units: Units) -> Tensor:
    """Return the weights w of units, float32 [vectors, units, hidden], as `WeightForm` reads them."""
    *readers, writer = units.linears
    return by_unit([*(linear.weight for linear in readers), writer.weight.T], units.count).float()


def by_unit(matrices: Sequence[Tensor], count: int) -> Tensor:
    """Return the rows of matrices [channels, hidden], one run of rows per unit, as [vectors, units, hidden]."""
    return torch.cat([matrix.unflatten(0, (count, -1)).transpose(0, 1) for matrix in matrices])


def weight_gradients(
    x: Tensor, outputs: Sequence[Tensor], h: Tensor, output: Tensor, count: int
) -> Iterator[Tensor]:
    """Yield each sequence's gradients of the weights of units, float32 [vectors, units, hidden].

    They are computed in the model's dtype, as by autograd, but for one sequence at a time.

    Args:
        x: input of the layers that read hidden states (gate and up; q, k and v) [sequences, length, hidden].
        outputs: gradients of their outputs [sequences, length, channels].
        h: input of the layer that writes them (down; o) [sequences, length, channels].
        output: gradient of its output [sequences, length, hidden].
        count: number of units.
    """
    for n in range(len(x)):
        yield by_unit([*(gradient[n].T @ x[n] for gradient in outputs), h[n].T @ output[n]], count).float()
