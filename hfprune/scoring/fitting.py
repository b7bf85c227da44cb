"""The operations and memory of a scoring, and how many sequences memory holds at a time; without torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hfprune.criteria import Criterion, GradientCriterion, SearchCriterion, by_gradient, distinct
from hfprune.devices.batches import batch_tokens
from hfprune.errors import HfpruneError
from hfprune.models.shape import BYTES, Shape, shape_of
from hfprune.scoring.passes import SUMS_SHARE, GradientPass, gradient_passes, layer_parts, sums_bytes


@dataclass(frozen=True)
class ScoringCost:
    """The scoring of a model by criteria that share passes (`hfprune.scoring.score`)."""

    shape: Shape
    criteria: Mapping[str, Criterion]
    kinds: Sequence[str]
    """Kinds of unit."""
    dtype: str
    room: float = math.inf
    """Bytes of a GPU's memory; infinite on a CPU."""
    open: int = 1
    """Most samples that overlap at any sequence of a pass; each has sums of its own."""
    by_students: float = 1
    """Sequences that students read per sequence of a pass, since every sample has students of its own."""

    def operations(self, tokens: float, length: float) -> float:
        """Return the operations: 2 N per token for each forward pass, each backward pass and each weight form."""
        operations = 0.0
        if any(criterion.needs == "activations" for criterion in self.criteria.values()):
            operations += self.shape.forward(tokens, length)
        for gradients in self._passes():
            chosen = [criterion for criterion, _ in gradients.criteria.values()]
            passes = 1 + bool(gradients.start) + _backward_passes(chosen) + sum(map(_of_weights, chosen))
            read = tokens * (self.by_students if gradients.start else 1)
            operations += len(self._parts(gradients)) * passes * self.shape.forward(read, length)
        return operations + sum(search.operations(self.shape, tokens, length) for search in self._searches())

    def logits(self, tokens: float) -> float:
        """Return the logits that become gradients: those of each token, once for every backward pass."""
        logits = 0.0
        for gradients in self._passes():
            backward = _backward_passes([criterion for criterion, _ in gradients.criteria.values()])
            read = tokens * (self.by_students if gradients.start else 1)
            logits += len(self._parts(gradients)) * backward * read * self.shape.vocabulary
        return logits

    def peak(self, tokens: float) -> float:
        """Return the bytes that the largest pass takes with batches of `tokens` tokens, weights included."""
        reading = self.shape.reading(self.dtype, on_gpu=math.isfinite(self.room))
        searched = [reading + search.memory(self.shape, tokens, self.dtype) for search in self._searches()]
        return max(
            (*searched, *(self._held(gradients, tokens) for gradients in self._passes())), default=reading
        )

    def fitting(self, length: int, most: int | None = None) -> int:
        """Return the sequences of a batch: at most `most` tokens, within 90 % of the memory, and at least one."""
        number = max(1, (most or batch_tokens(on_gpu=math.isfinite(self.room))) // length)
        while number > 1 and self.peak(number * length) > 0.9 * self.room:
            number -= 1
        return number

    def _held(self, gradients: GradientPass, tokens: float) -> float:
        shape, criteria = self.shape, [criterion for criterion, _ in gradients.criteria.values()]
        forms, part = any(map(_of_weights, criteria)), max(map(len, self._parts(gradients)))
        # Weight forms hold a layer's gradients in float32, and every MLP's input. Logits have five copies.
        fixed = sums_bytes(criteria[0], part * self._summed(gradients)) + forms * 8 * 4 * self._scored
        fixed += shape.weights(self.dtype) + 5 * shape.logits(on_gpu=math.isfinite(self.room))
        hidden = shape.hidden * BYTES[self.dtype]
        # Each backward pass begins with a gradient of the last hidden states; the eight include one per gradient.
        ends = 8 + _backward_passes(criteria) - len(by_gradient(criteria))
        return fixed + tokens * (shape.layers * (shape.kept(self.dtype) + forms * hidden) + ends * hidden)

    def _passes(self) -> list[GradientPass]:
        return gradient_passes(self._distinct(), self.kinds)

    def _searches(self) -> list[SearchCriterion]:
        criteria = self._distinct().values()
        return [criterion for criterion in criteria if isinstance(criterion, SearchCriterion)]

    def _distinct(self) -> dict[str, Criterion]:
        names = {*distinct(self.criteria).values()}
        return {name: criterion for name, criterion in self.criteria.items() if name in names}

    def _parts(self, gradients: GradientPass) -> list[range]:
        criterion = next(iter(gradients.criteria.values()))[0]
        return layer_parts(criterion, self.shape.layers, self._summed(gradients), SUMS_SHARE * self.room)

    def _summed(self, gradients: GradientPass) -> float:
        """Return a layer's weights times the sums per weight that a pass keeps at a time; students keep one."""
        return self._scored * (1 if gradients.start else self.open)

    @property
    def _scored(self) -> float:
        weights = {"neurons": self.shape.mlp_weights, "key_value_groups": self.shape.attention_weights}
        return sum(weights.get(kind, 0) for kind in self.kinds)


def _backward_passes(criteria: Sequence[GradientCriterion]) -> int:
    """Return the backward passes of a batch for criteria that share a forward pass."""
    return sum(criteria[group[0]].backward_passes for group in by_gradient(criteria))


def _of_weights(criterion: Criterion) -> bool:
    """Tell whether a criterion is in weight form, which needs the gradients of weights."""
    return isinstance(criterion, GradientCriterion) and criterion.scorable() != criterion.kinds


def require_by_layer(
    criteria: Mapping[str, Criterion], model: Path, kinds: Sequence[str], dtype: str | None, length: int
) -> None:
    """Fail if a model whose weights stay on disk cannot be scored layer by layer: by weights or activations.

    Raises:
        HfpruneError: a criterion needs the whole model (names the memory for one sequence of `length` tokens), or
            the weights have another dtype.
    """
    from hfprune.models.on_disk import read_as_saved

    saved = read_as_saved(model, dtype)
    for name, criterion in criteria.items():
        if criterion.needs in ("weights", "activations"):
            continue
        needed = ScoringCost(shape_of(model.name, [model]), {name: criterion}, kinds, saved).peak(length)
        why = "takes gradients" if criterion.needs == "gradient" else "searches"
        raise HfpruneError(
            f"criterion {name!r} {why}, which needs the whole model in memory: {needed / 1e9:,.1f} GB with one "
            f"sequence of {length} tokens. Leave out --device-map disk, or give a criterion that reads weights or "
            "activations, such as wanda, flap or magnitude"
        )
