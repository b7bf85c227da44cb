"""The one generator of comparisons: all sides measured of one outcome, model, calibration and ratio."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Self, TypeVar

import numpy as np

from hfprune.assets.known_tasks import known_task, with_same_choices
from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.questions import GAIN, REFERENCE, TO_DENSE, TO_UNTUNED, Question, Side
from hfprune.results.declarations import Declaration
from hfprune.results.effect_rows import BOTH, EffectRow, row_of
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate
from hfprune.statistics.outcomes import Contrast, NotComparableError, NotMeasuredError, Outcomes, contrast
from hfprune.study.calibration import Calibrated
from hfprune.study.cells import is_of_weights
from hfprune.study.reference import reference_of

DENSE_SIDE: Side = (DENSE, Recovery.NONE)
T = TypeVar("T")


@dataclass(frozen=True)
class ComparedBy:
    """What two sides are compared by: an outcome of the study, on all tasks, on some, or on one."""

    name: str
    declared: Declaration
    tasks: Sequence[str] | None = None
    task: str = ""
    family: str = ""

    @classmethod
    def all_of(cls, evidence: Evidence) -> Iterator[Self]:
        """Yield every outcome, and again without each task that a constant answer may win."""
        families = {name: " and ".join(some) for some in evidence.hypothesis_families() for name in some}
        for name, declared in evidence.named_outcomes.items():
            yield cls(name, declared, family=families.get(name, name))
            tasks = evidence.tasks(declared.measure)
            for task in with_same_choices() if declared.kind == "zeroshot" else []:
                others = [other for other in tasks if other != task]
                if task in tasks and others:
                    without = f"{name}_without_{task}"
                    label = f"{declared.metric.label} without {known_task(task).short}"
                    yield cls(without, declared.relabelled(label), others, family=without)

    @classmethod
    def first_of(cls, evidence: Evidence) -> Iterator[Self]:
        """Yield the first outcome of each measure, on all tasks."""
        first = evidence.declared.first_outcomes()
        return (outcome for outcome in cls.all_of(evidence) if outcome.name in first)

    def by_task(self, evidence: Evidence) -> Iterator[Self]:
        """Yield the outcome on each task where the outcome is a mean over several."""
        if not self.declared.per_task or self.tasks is not None:
            return
        tasks = evidence.tasks(self.declared.measure)
        for task in tasks if len(tasks) > 1 else []:
            yield replace(self, tasks=[task], task=task, family=f"{self.name} of each task")


@dataclass(frozen=True)
class Comparison:
    """The sides that were measured on one outcome: plans of one model, from one calibration, at one ratio."""

    evidence: Evidence = field(repr=False)
    model: str
    calibrated: Calibrated
    ratio: float
    outcome: ComparedBy
    sides: Mapping[Side, Outcomes] = field(repr=False)
    """By method and recovery; the dense model is among them."""

    def questions(self) -> Iterator[Question]:
        """Yield each question of every study whose two sides were measured."""
        study = self.evidence.study
        for recovery, method in product(study.recoveries_of(self.model), study.methods_of(self.model)):
            left = method, recovery
            asked: dict[str, Side] = {
                REFERENCE: (reference_of(study, method), recovery),
                TO_DENSE: (DENSE, recovery.of_dense),
                GAIN: (method, Recovery.NONE),
                **({TO_UNTUNED: DENSE_SIDE} if recovery.trains else {}),
            }
            for name, right in asked.items():
                if {left, right} <= self.sides.keys() and left != right:
                    yield Question(name, left, right)

    def beside_references(self) -> Iterator[Question]:
        """Yield those of the questions that are about a method and its reference."""
        return (asked for asked in self.questions() if asked.name == REFERENCE)

    def difference(self, left: Side, right: Side) -> Contrast:
        """Return the outcomes of one side less those of the other, paired as `paired` says.

        Raises:
            NotComparableError: the sides were measured on different draws, tasks or items.
        """
        ours, theirs = self.paired(left, right)
        return contrast([(1.0, ours), (-1.0, theirs)])

    def paired(self, *sides: Side) -> list[Outcomes]:
        """Return the outcomes of sides on draws that they share.

        A method that reads no sequences has one plan per draw, even where a size has several samples. A plan from
        weights alone is paired with every sample, any other with the first sample of its draw.
        """
        study, outcomes = self.evidence.study, {side: self.sides[side] for side in sides}
        pruned = [side for side in outcomes if side[0] != DENSE]
        unread = [side for side in pruned if not study.reads(side[0])]
        if 0 < len(unread) < len(pruned) and study.samples_of(self.calibrated) > 1:
            if all(is_of_weights(study, *side) for side in unread):
                outcomes |= {side: {None: next(iter(outcomes[side].values()))} for side in unread}
            else:
                outcomes |= {side: _first_samples(outcomes[side], study.draws) for side in pruned}
        return [outcomes[side] for side in sides]

    def row(
        self,
        question: str,
        left: Side,
        right: Side | None,
        effect: Estimate,
        covers: str | None = None,
        **more: Any,
    ) -> EffectRow:
        """Return the row of an effect, which belongs to a family where its interval covers draws and items.

        Args:
            question: the question that the effect answers.
            left: the method with its recovery.
            right: the other side; None for an outcome of the method's own.
            effect: the estimate, in the units of the outcomes.
            covers: what the interval stands for; None: draws and items, if there is an interval.
            more: fields that differ from those of an effect on the outcome itself.
        """
        declared, tasks = self.outcome.declared, self.outcome.tasks
        covers = (BOTH if effect.has_interval else "") if covers is None else covers
        count = len(self.evidence.tasks(declared.measure)) if tasks is None else len(tasks)
        fields: dict[str, Any] = {
            "family": self.family(question) if covers == BOTH else "",
            "task": self.outcome.task,
            "tasks": count if declared.per_task else 1,
            "neutral": declared.neutral,
            "better": declared.metric.better,
            "unit": declared.unit,
            "form": declared.metric.effect_form,
            "label": declared.metric.label,
        }
        return row_of(
            effect,
            declared.shown,
            left=left,
            right=right or ("", ""),
            covers=covers,
            question=question,
            model=self.model,
            calibration=self.calibrated.calibration,
            sequences=self.calibrated.sequences,
            ratio=self.ratio,
            outcome=self.outcome.name,
            measure=declared.measure,
            metric=declared.metric.name,
            **fields | more,
        )

    def quotient_row(
        self,
        question: str,
        left: Side,
        right: Side,
        effect: Estimate,
        ends: tuple[float, float, float],
        **more: Any,
    ) -> EffectRow:
        """Return the row of a quotient of effects without a p-value; `ends` are its value and its interval's ends.

        The counts are those of the estimate `effect`.
        """
        value, low, high = ends
        covers = "" if np.isnan([low, high]).any() else BOTH
        untested = {"value": value, "low": low, "high": high, "p": np.nan, "family": ""}
        return self.row(question, left, right, effect, covers, **untested | more)

    def family(self, question: str) -> str:
        """Return the name of the family: the study's first calibration and its others have one each."""
        first, *_ = self.evidence.study.calibrations
        others = "" if self.calibrated.calibration == first else " on other calibrations"
        return f"{question}: {self.outcome.family}{others}"


def comparisons(evidence: Evidence, outcomes: Iterable[ComparedBy]) -> Iterator[Comparison]:
    """Yield every comparison of a study on these outcomes: by model, outcome, ratio, and calibration.

    Sides that were not measured, or are not applicable at a ratio, are left out.
    """
    outcomes = [*outcomes]
    for model in evidence.models:
        for outcome, ratio in product(outcomes, evidence.study.ratios_of(model)):
            for calibrated in evidence.study.calibrated(model):
                sides = _sides(evidence, model, calibrated, ratio, outcome)
                yield Comparison(evidence, model, calibrated, ratio, outcome, sides)


def ask(
    evidence: Evidence,
    outcomes: Iterable[ComparedBy],
    asked: Callable[[Comparison], Iterable[Question]],
    answer: Callable[[Comparison, Question, Contrast], Iterable[T]],
) -> Iterator[T]:
    """Yield the answers to all questions that `asked` returns for the comparisons on these outcomes.

    Sides that are not comparable have none: in a partial run, cells have different draws.
    """
    for compared in comparisons(evidence, outcomes):
        for question in asked(compared):
            with suppress(NotComparableError):
                yield from answer(compared, question, compared.difference(question.left, question.right))


def _sides(
    evidence: Evidence, model: str, calibrated: Calibrated, ratio: float, outcome: ComparedBy
) -> dict[Side, Outcomes]:
    study, declared = evidence.study, outcome.declared
    tasks = None if outcome.tasks is None else [*outcome.tasks]
    pairs = product([DENSE, *study.methods_of(model)], study.recoveries_of(model))
    sides: dict[Side, Outcomes] = {}
    for method, recovery in dict.fromkeys([DENSE_SIDE, *pairs]):
        if (model, method, ratio) in evidence.results.not_applicable:
            continue
        at = 0.0 if method == DENSE else ratio
        cells = evidence.cells_of(model, method, calibrated, at, recovery)
        with suppress(NotMeasuredError):
            sides[method, recovery] = evidence.outcomes(cells, declared.measure, declared.metric.name, tasks)
    return sides


def _first_samples(outcomes: Outcomes, draws: Sequence[int]) -> Outcomes:
    """Return the outcomes of the first sample of each draw, whose number is the draw's."""
    return {draw: tasks for draw, tasks in outcomes.items() if draw is None or draw.number in draws}


def mean(outcomes: Outcomes) -> float:
    """Return the mean outcome of a side over draws and tasks, without its resamples."""
    drawn = [tasks for draw, tasks in outcomes.items() if draw is None or not draw.resample]
    return float(np.mean([items.mean() for tasks in drawn for items in tasks.values()]))
