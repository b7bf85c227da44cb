"""The contract of a criterion. Every other file in this folder is one, and is discovered automatically.

A criterion declares its needs and formulas; `hfprune.scoring` runs them. Nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.plugins.registry import Registry
from hfprune.settings import Strict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hfprune.models.shape import Shape


class Criterion(Strict, ABC):
    """Maps weights or calibration data to one score per unit; the units with the lowest scores are pruned.

    A subclass has its own file under `hfprune/criteria/`, named after the criterion, or comes from another
    package with an entry point in the group `hfprune.criteria`. Its fields are its options. A higher
    `version` re-runs the methods that use it, and no others. Modules of criteria import torch inside
    functions.
    """

    needs: ClassVar[Literal["weights", "activations", "gradient", "model"]]
    kinds: ClassVar[tuple[str, ...]] = ("neurons",)
    """The kinds of unit that the criterion can score: `neurons`, `key_value_groups`, `layers`."""
    version: ClassVar[int] = 1
    nested: ClassVar[bool] = True
    """Whether a unit removed at one ratio is also removed at every higher one. If not, the scores of n layers are
    [n, n], and row m - 1 is for the removal of m layers."""

    def scorable(self) -> tuple[str, ...]:
        """Return the kinds of unit that the criterion can score with its options; by default `kinds`."""
        return self.kinds

    @property
    def resampled(self) -> bool:
        """Whether resampled calibrations can be scored from statistics of folds."""
        return True


class WeightCriterion(Criterion):
    """A criterion that reads weights only."""

    needs = "weights"
    seeded: ClassVar[bool] = False  # whether scores depend on the seed of the draw

    @abstractmethod
    def layer_scores(self, mlp: Any, generator: torch.Generator) -> Tensor:
        """Return one score per unit [units].

        Args:
            mlp: the units of one key (`Units`), such as the `Neurons` of a layer.
            generator: on the CPU, seeded for this key.
        """


class SweepCriterion(Criterion):
    """A criterion that computes its scores from a statistic of the calibration sequences."""

    def combine(self, parts: Tensor) -> Tensor:
        """Combine the statistics of n disjoint sets of sequences [n, ...], n ≥ 1, into one [...].

        The default is their sum. Any other function must be associative, such as a maximum, and return a single
        statistic unchanged: a set may be a sequence, a batch or half of the calibration.
        """
        return parts.sum(0)

    def finish(self, units: Any, statistic: Tensor) -> Tensor:
        """Return the scores [units] from the statistic of all sequences; by default, return the statistic.

        Args:
            units: the `Neurons` of a layer, its `KeyValueGroups`, or all `Layers`, for a statistic [layers, ...].
            statistic: what `combine` made.
        """
        return statistic


class ActivationCriterion(SweepCriterion):
    """A criterion that reads the activations h of the neurons: forward passes only, no gradient.

    If its `kinds` say so, it also reads the channels of key-value groups, at the input of `o_proj`.
    """

    needs = "activations"

    @abstractmethod
    def shares(self, h: Tensor) -> Tensor:
        """Return the statistic of each sequence [sequences, ...]; `combine` sums them by default.

        Args:
            h: activations, float32 [sequences, length, neurons or channels].
        """


class LayerCriterion(SweepCriterion):
    """A criterion that reads the input and output of decoder layers: forward passes only."""

    needs = "activations"
    kinds = ("layers",)

    @abstractmethod
    def shares(self, x_in: Tensor, x_out: Tensor) -> Tensor:
        """Return one layer's statistic of each sequence [sequences, ...]; `combine` sums them by default.

        Args:
            x_in: hidden states before the layer, float32 [sequences, length, width].
            x_out: hidden states after the layer, of the same shape.
        """

    def together(self, shares: Tensor) -> Tensor:
        """Return the statistic of each sequence from the shares of all layers [sequences, layers, ...].

        By default, return `shares`. A criterion that compares layers does so here, before sequences are combined.
        """
        return shares


class SearchCriterion(Criterion):
    """A criterion that removes units one after another, each given those removed before.

    It runs the model itself, without gradients. Its scores rank the units in the order of removal, so that one
    search serves every ratio.
    """

    needs = "model"

    @property
    def resampled(self) -> bool:
        """Never: each resample would need its own search."""
        return False

    @abstractmethod
    def search(
        self, model: Any, units: Mapping[str, Any], batches: Sequence[Tensor], saved: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield names of units and their scores [units], float64, as far as they are known.

        Args:
            model: frozen, and left as it was whenever something is yielded.
            units: those to score, by name.
            batches: calibration tokens [sequences, length], on the model's device.
            saved: what an interrupted search has yielded last for each name; this one goes on from there.
        """

    @abstractmethod
    def operations(self, shape: Shape, tokens: float, length: float) -> float:
        """Return the operations of a search that reads so many tokens, in sequences of `length`."""

    @abstractmethod
    def memory(self, shape: Shape, tokens: float, dtype: str) -> float:
        """Return the bytes that a search takes beside forward passes of so many tokens."""


# Aggregations of h·∂C/∂h (`hfprune.scoring.recorders`) and of w·∂C/∂w (`hfprune.scoring.weight_forms`).
ActivationForm = Literal["sum_abs", "sum_squares", "signed_sequence"]
WeightForm = Literal["param_first", "param_second", "param_mix", "vectorize", "joint"]
Aggregation = Literal[ActivationForm, WeightForm]


class Positions:
    """Data about the n positions of a chunk of logits, besides the logits.

    A criterion gets only the data that its class asks for.
    """

    targets: Tensor
    """Next tokens [n]; with `needs_targets`, which excludes each sequence's last position."""
    teacher: Tensor
    """The dense model's logits [n, vocabulary] at the same positions, float32; with `needs_teacher`."""
    uniform: Tensor
    """A random number in [0, 1) for each position [n], seeded by sequence and pass; with `needs_uniform`."""

    def __init__(self, **given: Tensor) -> None:
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        raise HfpruneError(f"a criterion reads positions.{name}: set needs_{name} = True in its class")


class GradientCriterion(SweepCriterion):
    """A first-order Taylor criterion: |h_i · ∂C/∂h_i| for an objective C of the logits (paper, Eq. 2).

    A subclass must define `objective`. It may define `gradient`, if a closed form is faster than autograd.
    """

    needs = "gradient"
    kinds = ("neurons", "key_value_groups", "layers")
    needs_targets: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    needs_uniform: ClassVar[bool] = False

    aggregation: Aggregation = "sum_abs"
    """How to aggregate h·∂C/∂h over tokens: sum of absolute values (official code), sum of squares, or
    absolute value of each sequence's sum. Or a form of w·∂C/∂w over the neuron's weights (see
    `docs/criteria.md`)."""
    accumulator: Literal["float64", "bfloat16"] = "float64"
    """How to sum over sequences: in float64, or one by one in bfloat16, as the official script does."""

    @abstractmethod
    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the objective [n] at n positions from float32 `logits` [n, vocabulary]."""

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂objective/∂logits [n, vocabulary], position by position; may overwrite `logits`."""
        import torch

        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            return torch.autograd.grad(self.objective(logits, positions).sum(), logits)[0]

    def scorable(self) -> tuple[str, ...]:
        """Return `kinds`, or for a weight form the kinds that have weights (for `joint`, neurons only)."""
        by_weights = ("neurons",) if self.aggregation == "joint" else ("neurons", "key_value_groups")
        return by_weights if self.aggregation in get_args(WeightForm) else self.kinds

    @property
    def resampled(self) -> bool:
        """Whether the statistics of folds are kept: a weight form's are as large as the model's weights."""
        return self.aggregation not in get_args(WeightForm) and self.accumulator == "float64"

    @property
    def backward_passes(self) -> int:
        """Backward passes of a batch, each with random numbers of its own; their shares are averaged."""
        return 1

    @property
    def sums_per_weight(self) -> int:
        """Float32 numbers summed for every weight, where the absolute value comes after the sum over sequences."""
        return {"param_first": 1, "param_mix": 2}.get(self.aggregation, 0)


class StudentCriterion(GradientCriterion):
    """A gradient criterion that compares a slightly pruned student with the dense model, its teacher.

    A divergence and its gradient are zero where student = teacher. So, as in SDMPrune, the student first
    loses the neurons with the lowest cross-entropy scores in the same aggregation. Teacher and student share
    their weights; the student masks those neurons. Masked neurons score zero and are pruned first.
    """

    needs_teacher = True

    warm_start: Annotated[float, Field(gt=0, lt=1)] = 0.025
    """Fraction of each layer's neurons to mask; SDMPrune keeps 3.9 of 4 × hidden size in LLaMA-3.2-1B."""


CRITERIA = Registry("hfprune.criteria", Criterion, required=("needs",))


def distinct(criteria: Mapping[str, Criterion]) -> dict[str, str]:
    """Return, by name, the first name that has the same criterion with the same options."""
    return {
        name: next(first for first, other in criteria.items() if other == criterion)
        for name, criterion in criteria.items()
    }


def by_gradient(criteria: Sequence[GradientCriterion]) -> list[list[int]]:
    """Return the indices of those that share a gradient: that differ in how they aggregate it at most."""
    groups: dict[tuple[type, str], list[int]] = {}
    for index, criterion in enumerate(criteria):
        options = criterion.model_dump_json(exclude={"aggregation", "accumulator"})
        groups.setdefault((type(criterion), options), []).append(index)
    return [*groups.values()]


def make_criterion(
    name: str, options: Mapping[str, object], where: str = "method", units: Sequence[str] = ("neurons",)
) -> Criterion:
    """Build the criterion `name` with `options`, and check that it can score these kinds of unit.

    Raises:
        HfpruneError: there is no such criterion, it does not load, or it does not take these options or score
            these units; the line starts with `where`.
    """
    criterion = CRITERIA.make(name, options, where)
    check_scorable(criterion, units, f"{where}: criterion {name!r}")
    return criterion


def check_scorable(criterion: Criterion, units: Sequence[str], what: str) -> None:
    """Check that a criterion can score these kinds of unit.

    Raises:
        HfpruneError: it cannot; the line starts with `what`.
    """
    scorable = criterion.scorable()
    if unknown := [kind for kind in units if kind not in scorable]:
        form = f" with aggregation {criterion.aggregation}" if scorable != criterion.kinds else ""  # type: ignore[attr-defined]
        raise HfpruneError(f"{what}{form} cannot score {unknown[0]}, only {' and '.join(scorable)}")
