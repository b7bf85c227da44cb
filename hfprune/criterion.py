"""The contract of a criterion, and the registry that finds every file under `hfprune/criteria/`."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hfprune import criteria as criteria_package
from hfprune.calibration import derive_seed
from hfprune.errors import HfpruneError
from hfprune.models import GatedMLP, gated_mlps
from hfprune.scoring import Positions, Sweep
from hfprune.study import Strict, nearest, validate
from hfprune.tally import Scores
from hfprune.weight_gradients import WEIGHT_FORMS, stacked_weights


class Criterion(Strict, ABC):
    """Maps what calibration saw to one score per neuron; the lowest scores are pruned.

    A subclass stands in a file of its own under `hfprune/criteria/`, named after the criterion. Its fields are
    its options. Raising `version` re-runs the methods that use it, and no others.
    """

    needs: ClassVar[Literal["weights", "activations", "gradient"]]
    version: ClassVar[int] = 1

    @abstractmethod
    def scores(self, sweep: Sweep) -> Scores:
        """Score every neuron of every layer of `sweep.model`."""


class WeightCriterion(Criterion):
    """A criterion that looks at weights only."""

    needs = "weights"

    @abstractmethod
    def layer_scores(self, mlp: GatedMLP, generator: torch.Generator) -> Tensor:
        """Return one score per neuron [neurons]; `generator` (on the CPU) is seeded for this layer."""

    @torch.no_grad()
    def scores(self, sweep: Sweep) -> Scores:
        """Score layer by layer; reads no calibration blocks."""
        seeds = (derive_seed(sweep.seed, "criterion", layer) for layer in range(10**9))
        return [
            self.layer_scores(mlp, torch.Generator().manual_seed(seed)).double()
            for mlp, seed in zip(gated_mlps(sweep.model), seeds, strict=False)
        ]


class SweepCriterion(Criterion):
    """A criterion that sums something over the calibration sequences and makes its scores of the sums."""

    def empty(self, mlp: GatedMLP) -> Tensor:
        """Return the sums of a layer before the first sequence, zero; by default float64 [neurons]."""
        return torch.zeros(mlp.width, dtype=torch.float64, device=mlp.down.weight.device)

    def finish(self, mlp: GatedMLP, sums: Tensor) -> Tensor:
        """Return the scores of a layer [neurons]; by default its sums."""
        return sums


class ActivationCriterion(SweepCriterion):
    """A criterion that looks at the activations h of the neurons: forward passes only, no gradient."""

    needs = "activations"

    @abstractmethod
    def shares(self, h: Tensor) -> Tensor:
        """Return what each sequence adds to the sums [sequences, ..., neurons].

        Args:
            h: float32 [sequences, length, neurons].
        """

    def empty(self, mlp: GatedMLP) -> Tensor:
        """Return zeros of the shape of a share."""
        h = torch.zeros(1, 1, mlp.width, device=mlp.down.weight.device)
        return torch.zeros_like(self.shares(h)[0], dtype=torch.float64)

    def scores(self, sweep: Sweep) -> Scores:
        """Score by one forward sweep over the calibration blocks."""
        return sweep.activation_scores([self])[0]


Aggregation = Literal[
    "sum_abs",
    "sum_squares",
    "signed_sequence",
    "param_first",
    "param_second",
    "param_mix",
    "vectorize",
    "joint",
]


class GradientCriterion(SweepCriterion):
    """A first-order Taylor criterion: |h_i · ∂C/∂h_i| for an objective C of the logits (paper, Eq. 2).

    Only `objective` must be written. `gradient` may be, where a closed form is faster than autograd.
    """

    needs = "gradient"
    needs_targets: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False
    needs_uniform: ClassVar[bool] = False

    aggregation: Aggregation = "sum_abs"
    """Of h·∂C/∂h over tokens: sum of absolute values (official code), of squares, or signed sum per sequence.
    Or of w·∂C/∂w over the neuron's weights: one of `hfprune.weight_gradients` (see `docs/criteria.md`)."""
    accumulator: Literal["float64", "bfloat16"] = "float64"
    """Over sequences: exact, or as the official script adds in its model's dtype, one after the other."""

    @abstractmethod
    def objective(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return the objective [n] at n positions from float32 `logits` [n, vocabulary]."""

    def gradient(self, logits: Tensor, positions: Positions) -> Tensor:
        """Return ∂objective/∂logits [n, vocabulary], position by position; may overwrite `logits`."""
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            return torch.autograd.grad(self.objective(logits, positions).sum(), logits)[0]

    def empty(self, mlp: GatedMLP) -> Tensor:
        """Return zeros of the shape that the aggregation sums."""
        form = WEIGHT_FORMS.get(self.aggregation)
        return form.empty(mlp) if form else super().empty(mlp)

    def finish(self, mlp: GatedMLP, sums: Tensor) -> Tensor:
        """Return the scores [neurons] that the aggregation makes of its sums."""
        form = WEIGHT_FORMS.get(self.aggregation)
        return form.finish(stacked_weights(mlp), sums) if form else sums

    def scores(self, sweep: Sweep) -> Scores:
        """Score by one sweep over the calibration blocks."""
        return sweep.gradient_scores([self])[0]


@cache
def criteria() -> dict[str, type[Criterion]]:
    """Return every criterion by name, i.e. by the name of its file.

    Raises:
        HfpruneError: a file does not import or holds no criterion; names the file.
    """
    return {module.name: _load(module.name) for module in pkgutil.iter_modules(criteria_package.__path__)}


def _load(name: str) -> type[Criterion]:
    where = f"hfprune/criteria/{name}.py"
    try:
        module = importlib.import_module(f"{criteria_package.__name__}.{name}")
    except Exception as error:  # whatever a user's file raises
        raise HfpruneError(f"{where}: does not import ({type(error).__name__}: {error})") from error
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Criterion) and item.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise HfpruneError(f"{where}: must define one subclass of Criterion, but defines {len(found)}")
    return found[0]


def make_criterion(name: str, options: dict[str, Any], where: str = "method") -> Criterion:
    """Build the criterion `name` with `options`.

    Raises:
        HfpruneError: no such criterion, or options that it does not take; the line starts with `where`.
    """
    known = criteria()
    if name not in known:
        raise HfpruneError(f"{where}: unknown criterion {name!r}{nearest(name, [*known])}")
    return validate(known[name], options, where)
