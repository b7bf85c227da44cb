"""Second moments of the inputs of the layers that read units, in one pass over the calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor
from tqdm import tqdm

from hfprune.calibration.folds import folds_of
from hfprune.errors import HfpruneError
from hfprune.models.head import check_blocks
from hfprune.models.layerwise import read_layers
from hfprune.models.units import Units
from hfprune.settings.units import layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Stripes of a matrix of moments, computed from the diagonal on: symmetry gives the rest, and saves half the time.
STRIPES = 8


def inputs_of(units: Units, kept: Tensor) -> Tensor:
    """Return the inputs of the last linear layer that belong to the units `kept`, on their device, in order."""
    return (kept.unsqueeze(1) * units.channels + torch.arange(units.channels)).flatten().to(units.device)


@dataclass
class Moments:
    """Sums over tokens of vectors x; float32, since float64 takes twice the time, or float64 if the model is."""

    tokens: int
    gram: Tensor
    """Σ x·xᵀ [width, width]; `add` leaves the part below the diagonal to `whole`."""
    total: Tensor
    """Σ x [width]."""

    @classmethod
    def none(cls, units: Units) -> Self:
        """Return zero sums for the activations of these units, on their device."""
        width = units.linears[-1].in_features
        dtype = torch.promote_types(units.linears[-1].weight.dtype, torch.float32)
        zeros = torch.zeros(width + 1, width, dtype=dtype, device=units.device)
        return cls(0, zeros[1:], zeros[0])

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.tokens + other.tokens, self.gram + other.gram, self.total + other.total)

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
        """Fill the part below the diagonal and return the moments.

        Raises:
            HfpruneError: a sum is not finite; names the place.
        """
        for start, end in self._stripes():
            self.gram[end:, start:end] = self.gram[start:end, end:].T
        if not self.gram.diagonal().isfinite().all():  # bounds all other sums
            raise HfpruneError(f"activations at {place} are not finite on the calibration; try another dtype")
        return self


# Tokens, and whether they are held out: these choose between fits.
Batch = tuple[Tensor, bool]


def batches_of(blocks: Tensor, documents: Sequence[int] | None, batch_tokens: int) -> list[Batch]:
    """Split calibration blocks into batches; the last fold of their documents is held out.

    Raises:
        HfpruneError: there are fewer than two blocks.
    """
    if len(blocks) < 2:
        raise HfpruneError("a linear recovery needs two calibration sequences or more: it holds some out")
    folds, size = torch.tensor(folds_of(len(blocks), documents)), max(1, batch_tokens // blocks.shape[1])
    away = folds == folds.max()
    return [(part, held) for held in (False, True) for part in blocks[away == held].split(size)]


def grams(
    model: "PreTrainedModel", batches: Sequence[Batch], units: Sequence[Units]
) -> Iterator[tuple[str, Moments, Moments]]:
    """Yield each place, layer by layer, and the moments of its units' activations in the dense model.

    The first moments are for fitting, the second are held out. Each layer up to the last place reads the
    calibration once. In memory are the states between layers, and two Gram matrices for each place of a layer.

    Raises:
        HfpruneError: activations are not finite.
    """
    check_blocks(model, torch.cat([tokens for tokens, _ in batches]))
    states: list[Tensor | None] = [None] * len(batches)
    behind = 0
    for layer in tqdm(sorted({layer_of(unit.name) for unit in units}), desc="Gram matrices", unit="layer"):
        here = [unit for unit in units if layer_of(unit.name) == layer]
        sums = {unit.name: [Moments.none(unit) for _ in range(2)] for unit in here}
        readers, layers = [unit.linears[-1] for unit in here], range(behind, layer + 1)
        for number, (tokens, held_out) in enumerate(batches):
            inputs, states[number] = read_layers(model, tokens, layers, states[number], readers)
            for moments, x in zip(sums.values(), inputs, strict=True):
                moments[held_out].add(x)
        behind = layer + 1
        for place in [*sums]:
            fitted, held = (part.whole(place) for part in sums.pop(place))
            yield place, fitted, held
            del fitted, held
