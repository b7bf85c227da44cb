"""The contract of a criterion, and the registry: files under `hfprune/criteria/`, and entry points."""

import inspect
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hfprune import criteria as criteria_package
from hfprune.calibration import derive_seed
from hfprune.errors import HfpruneError
from hfprune.models import GatedMLP, gated_mlps
from hfprune.scoring import Positions, Sweep
from hfprune.study import Parts, Strict, nearest, validate
from hfprune.tally import Curve, Scores
from hfprune.weight_gradients import WEIGHT_FORMS, stacked_weights


class Criterion(Strict, ABC):
    """Maps what calibration saw to one score per neuron; the lowest scores are pruned.

    A subclass stands in a file of its own under `hfprune/criteria/`, named after the criterion, or in another
    package with an entry point for it in the group `hfprune.criteria`. Its fields are its options. Raising
    `version` re-runs the methods that use it, and no others.
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


GROUP = "hfprune.criteria"  # of the entry points by which other packages add criteria


@cache
def criterion_sources() -> dict[str, list[EntryPoint]]:
    """Return where each name comes from, nothing imported yet: a file here, or a package's entry point.

    More than one source for a name is a mistake, which `load_criterion` reports to whoever uses the name.
    """
    found: dict[str, list[EntryPoint]] = {}
    files = [
        EntryPoint(module.name, f"{criteria_package.__name__}.{module.name}", GROUP)
        for module in pkgutil.iter_modules(criteria_package.__path__)
    ]
    for source in (*files, *sorted(entry_points(group=GROUP), key=lambda source: source.value)):
        found.setdefault(source.name, []).append(source)
    return found


def origin(source: EntryPoint) -> str:
    """Return what a reader should open to find a criterion: its file, or its package and object."""
    if source.dist is None:
        return f"{source.value.replace('.', '/')}.py"
    return f"{source.dist.name} ({source.value})"


@cache
def load_criterion(name: str) -> type[Criterion]:
    """Return the criterion class of this name; no other is imported, so a broken one costs only its users.

    Raises:
        HfpruneError: no such criterion, two of this name, or one that does not import or is no criterion;
            names the file or package.
    """
    known = criterion_sources()
    if name not in known:
        raise HfpruneError(f"unknown criterion {name!r}{nearest(name, [*known])}")
    source, *others = known[name]
    if others:
        raise HfpruneError(
            f"criterion {name!r} is defined by {' and by '.join(map(origin, known[name]))}; rename one"
        )
    try:
        loaded = source.load()
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        reason = " ".join(str(error).split())
        raise HfpruneError(f"{origin(source)}: does not import ({type(error).__name__}: {reason})") from error
    return _checked(loaded, origin(source))


def _checked(loaded: Any, where: str) -> type[Criterion]:
    """Return the one criterion that a module defines, or the class that an entry point names."""
    if isinstance(loaded, ModuleType):
        own = [
            item for item in vars(loaded).values() if inspect.isclass(item) and issubclass(item, Criterion)
        ]
        own = [item for item in own if item.__module__ == loaded.__name__]
        if len(own) != 1:
            raise HfpruneError(f"{where}: must define one subclass of Criterion, but defines {len(own)}")
        (loaded,) = own
    if not (inspect.isclass(loaded) and issubclass(loaded, Criterion)):
        raise HfpruneError(f"{where}: is no subclass of hfprune.criterion.Criterion")
    if missing := [*sorted(loaded.__abstractmethods__), *(["needs"] if not hasattr(loaded, "needs") else [])]:
        raise HfpruneError(f"{where}: {loaded.__name__} must define {', '.join(missing)}")
    return loaded


def criteria() -> dict[str, type[Criterion]]:
    """Return every criterion by name.

    Raises:
        HfpruneError: one does not load.
    """
    return {name: load_criterion(name) for name in criterion_sources()}


def make_criterion(
    name: str, options: dict[str, Any], where: str = "method", parts: Parts = "mlp"
) -> Criterion:
    """Build the criterion `name` with `options`, to score `parts`.

    Raises:
        HfpruneError: no such criterion, one that does not load, options that it does not take, or parts that it
            does not score; the line starts with `where`.
    """
    try:
        kind = load_criterion(name)
    except HfpruneError as error:
        raise HfpruneError(f"{where}: {error}") from error
    criterion = validate(kind, options, where)
    activations = isinstance(criterion, GradientCriterion) and criterion.aggregation not in WEIGHT_FORMS
    if parts != "mlp" and not activations:
        raise HfpruneError(
            f"{where}: {name} scores MLP neurons only; for {parts} take a gradient criterion in activation form"
        )
    return criterion


def source_file(criterion: Criterion) -> Path:
    """Return the file that defines a criterion."""
    return Path(str(sys.modules[type(criterion).__module__].__file__))


def score_all(criteria: Mapping[str, Criterion], sweep: Sweep) -> dict[str, tuple[Scores, dict[str, Curve]]]:
    """Score by several criteria; those that need nothing but one pass over the blocks share it.

    Returns:
        For each name the scores, and the curves of the sweeps behind them (`Sweep.curves`).
    """
    plain = [
        name
        for name, criterion in criteria.items()
        if isinstance(criterion, GradientCriterion) and type(criterion).scores is GradientCriterion.scores
    ]
    shared = plain if len(plain) > 1 else []
    found: dict[str, tuple[Scores, dict[str, Curve]]] = {}
    for name in criteria.keys() - shared:
        # A folder of its own, for its sweeps have the names of others'.
        alone = replace(sweep, curves={}, state=sweep.state / name if sweep.state else None)
        found[name] = criteria[name].scores(alone), alone.curves
    if shared:
        scores = sweep.gradient_scores([criteria[name] for name in shared])  # type: ignore[misc]
        for index, name in enumerate(shared):
            curve = [mark | {"criteria": [mark["criteria"][index]]} for mark in sweep.curves["sweep"]]
            found[name] = scores[index], {"sweep": curve}
    return found
