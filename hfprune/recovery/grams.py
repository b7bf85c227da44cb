"""Second moments of what the layers that read units read, in one pass over the calibration, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor, nn

from hfprune.errors import HfpruneError
from hfprune.models.head import hidden_states
from hfprune.models.kinds import layer_of
from hfprune.models.units import Units
from hfprune.scoring.folds import folds_of
from hfprune.scoring.sweep import check_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Stripes of a matrix of moments, computed from the diagonal on: symmetry gives the rest, and saves half the time.
STRIPES = 8


def inputs_of(units: Units, kept: Tensor) -> Tensor:
    """Return the inputs of the last linear layer that belong to the units `kept`, on their device, in order."""
    return (kept.unsqueeze(1) * units.channels + torch.arange(units.channels)).flatten().to(units.device)


@dataclass
class Moments:
    """Sums over tokens of vectors x, float32, or float64 if the model is: on a CPU that takes twice the time."""

    tokens: int
    gram: Tensor
    """Σ x·xᵀ [width, width]; `add` leaves the part below the diagonal to `whole`."""
    total: Tensor
    """Σ x [width]."""

    @classmethod
    def none(cls, width: int, units: Units) -> Self:
        """Return the sums over no tokens, where these units are computed."""
        dtype = torch.promote_types(units.linears[-1].weight.dtype, torch.float32)
        zeros = torch.zeros(width + 1, width, dtype=dtype, device=units.device)
        return cls(0, zeros[1:], zeros[0])

    def __iadd__(self, other: "Moments") -> Self:
        self.tokens += other.tokens
        self.gram += other.gram
        self.total += other.total
        return self

    def _stripes(self) -> Iterator[tuple[int, int]]:
        width = len(self.total)
        return pairwise([*range(0, width, -(-width // STRIPES)), width])

    def add(self, x: Tensor) -> None:
        """Add the tokens of x [..., width]."""
        x = x.flatten(0, -2).to(self.gram)
        self.tokens += len(x)
        self.total += x.sum(0)
        for start, end in self._stripes():
            self.gram[start:end, start:].addmm_(x[:, start:end].T, x[:, start:])

    def whole(self, place: str) -> Self:
        """Fill the part below the diagonal, and return itself.

        Raises:
            HfpruneError: a sum is not finite; names the place.
        """
        for start, end in self._stripes():
            self.gram[end:, start:end] = self.gram[start:end, end:].T
        if not self.gram.isfinite().all():
            raise HfpruneError(f"activations at {place} are not finite on the calibration; try another dtype")
        return self


class Batch(NamedTuple):
    """Calibration sequences [sequences, length] that are read together."""

    tokens: Tensor
    held_out: bool
    """Whether nothing is fitted to them: they choose between fits."""


def batches_of(blocks: Tensor, documents: Sequence[int] | None, batch_tokens: int) -> list[Batch]:
    """Split calibration blocks into batches; the last fold of their documents is held out.

    Raises:
        HfpruneError: there are fewer than two blocks.
    """
    if len(blocks) < 2:
        raise HfpruneError("a linear recovery needs two calibration sequences or more: it holds some out")
    folds, size = torch.tensor(folds_of(len(blocks), documents)), max(1, batch_tokens // blocks.shape[1])
    away = folds == folds.max()
    return [Batch(part, held) for held in (False, True) for part in blocks[away == held].split(size)]


class Walk:
    """The hidden states of the calibration on their way through the layers of a frozen model.

    The model's own forward pass makes positions and masks, so every family is right. It skips the layers behind.
    """

    def __init__(self, model: "PreTrainedModel", batches: Sequence[Batch]) -> None:
        check_blocks(model, torch.cat([batch.tokens for batch in batches]))
        self.model, self.batches = model, batches
        self.behind = 0
        self.states: list[Tensor | None] = [None] * len(batches)

    @torch.no_grad()
    def read(self, batch: int, stop: int, *watched: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Let the next layers, those before number `stop`, read a batch.

        Returns:
            The input and output of each watched module, and at last of the last of these layers.
        """
        decoder, layers, seen = self.model.model, self.model.model.layers, {}
        passed, watched = layers[: self.behind], (*watched, layers[stop - 1])
        forwards = [layer.forward for layer in passed]
        for layer in passed:
            layer.forward = lambda *_, **__: self.states[batch]
        handles = [
            module.register_forward_hook(lambda module, x, output: seen.update({module: (x[0], output)}))
            for module in watched
        ]
        decoder.layers = layers[:stop]
        try:
            hidden_states(self.model, self.batches[batch].tokens.to(self.model.device, torch.int64))
        finally:
            decoder.layers = layers
            for handle in handles:
                handle.remove()
            for layer, forward in zip(passed, forwards, strict=True):
                layer.forward = forward
        return [seen[module] for module in watched]

    def go(self, stop: int) -> None:
        """Let the next layers, those before number `stop`, read all batches, and keep the states after them."""
        for number in range(len(self.batches) * (stop > self.behind)):
            ((_, self.states[number]),) = self.read(number, stop)
        self.behind = stop


def memory(units: Sequence[Units], tokens: int) -> int:
    """Return the most bytes above the weights that solving these places takes, for so many tokens.

    They hold the states, two Gram matrices of each place of a layer, and for the place that is solved, three
    matrices as large as its inputs and outputs together and four of its inputs in float64. However few a machine
    has, the calibration is read once. A layer of Qwen2.5-7B takes 19 GiB on a GPU.
    """
    sizes: dict[int, tuple[int, int]] = {}
    for each in units:
        linear, item = each.linears[-1], Moments.none(0, each).gram.itemsize
        inputs, both = linear.in_features, linear.in_features + linear.out_features
        held, work = sizes.get(layer_of(each.name), (tokens * linear.out_features * item, 0))
        held, work = held + 2 * inputs**2 * item, max(work, 3 * both**2 * item + 32 * inputs**2)
        sizes[layer_of(each.name)] = held, work
    return max(map(sum, sizes.values()), default=0)


def grams(
    model: "PreTrainedModel", batches: Sequence[Batch], units: Sequence[Units]
) -> Iterator[tuple[str, Moments, Moments]]:
    """Yield, by layer, each place and the moments of what its units give in the dense model: fitted, and held out.

    Each layer reads the calibration once, and the last is that of the last place.

    Raises:
        HfpruneError: activations are not finite.
    """
    walk = Walk(model, batches)
    for layer in sorted({layer_of(each.name) for each in units}):
        here = [each for each in units if layer_of(each.name) == layer]
        sums = {x.name: [Moments.none(x.linears[-1].in_features, x) for _ in range(2)] for x in here}
        walk.go(layer)
        for number, batch in enumerate(batches):
            *seen, (_, walk.states[number]) = walk.read(number, layer + 1, *(x.linears[-1] for x in here))
            for both, (inputs, _) in zip(sums.values(), seen, strict=True):
                both[batch.held_out].add(inputs)
        walk.behind = layer + 1
        for place in [*sums]:
            fitted, held = (moments.whole(place) for moments in sums.pop(place))
            yield place, fitted, held
            del fitted, held
