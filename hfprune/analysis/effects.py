"""The one table of effects: every comparison of two sides of a study, with its interval and its p-values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import numpy as np

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.effect_rows import BOTH, ITEMS_ALONE, EffectRow, estimated
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Contrast, NotComparableError, NotMeasuredError, Outcomes, contrast
from hfprune.analysis.questions import REFERENCE, TO_DENSE, Question, Side, questions
from hfprune.analysis.reference import differing
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.assets.known_tasks import with_same_choices
from hfprune.results import DENSE


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
        """Yield every outcome, also without each task that a constant answer may win."""
        families = {name: " and ".join(some) for some in evidence.hypothesis_families() for name in some}
        for name, declared in evidence.named_outcomes.items():
            yield cls(name, declared, family=families.get(name, name))
            tasks = evidence.tasks(declared.measure)
            for task in with_same_choices() if declared.kind == "zeroshot" else []:
                left = [other for other in tasks if other != task]
                if task in tasks and left:
                    yield cls(without := f"{name}_without_{task}", declared, left, family=without)

    def by_task(self, evidence: Evidence) -> Iterator[Self]:
        """Yield the outcome on each task, where it is a mean over several."""
        tasks = evidence.tasks(self.declared.measure) if self.declared.per_task and self.tasks is None else []
        for task in tasks if len(tasks) > 1 else []:
            yield replace(self, tasks=[task], task=task, family=f"{self.name} of each task")


def effects(evidence: Evidence) -> list[EffectRow]:
    """Return the effects of a study, but for those of the paper's claims.

    Rows with the same question about one outcome, or about outcomes that the study corrects together, are a
    family for Holm's method, over all models, methods, ratios and recoveries. Questions about cells that were
    not measured have no row. Changes against the dense model also stand by task.
    """
    return [row for model in evidence.models for row in _of_model(evidence, model)]


def _of_model(evidence: Evidence, model: str) -> Iterator[EffectRow]:
    for outcome, ratio in product(ComparedBy.all_of(evidence), evidence.study.ratios_of(model)):
        for one in (outcome, *outcome.by_task(evidence)):
            cells = measured(evidence, one.declared, model, ratio, one.tasks)
            for question in questions(evidence.study, model, cells):
                if not one.task or question.name == TO_DENSE:
                    with suppress(NotComparableError):
                        it, covers = _estimated(cells, question)
                        row = row_of(evidence, question, model, ratio, one, it, covers)
                        yield row._replace(base=one.declared.shown(mean(cells[question.right])))


def measured(
    evidence: Evidence,
    declared: Declaration,
    model: str,
    ratio: float,
    tasks: Sequence[str] | None = None,
) -> dict[Side, Outcomes]:
    """Return the outcomes of every method and recovery that was measured, and of the dense model."""
    found: dict[Side, Outcomes] = {}
    pairs = product([DENSE, *evidence.study.methods_of(model)], evidence.study.recoveries_of(model))
    wanted = None if tasks is None else [*tasks]
    for method, recovery in dict.fromkeys([(DENSE, "none"), *pairs]):
        cells = evidence.cells_of(model, method, 0.0 if method == DENSE else ratio, recovery)
        if (model, method, ratio) not in evidence.not_applicable:
            with suppress(NotMeasuredError):
                found[method, recovery] = evidence.outcomes(
                    cells, declared.measure, declared.metric.name, wanted
                )
    return found


def mean(outcomes: Outcomes) -> float:
    """Return the mean outcome of a side over draws and tasks, without its resamples."""
    drawn = [tasks for draw, tasks in outcomes.items() if draw is None or not draw.resample]
    return float(np.mean([items.mean() for tasks in drawn for items in tasks.values()]))


def _estimated(cells: Mapping[Side, Outcomes], asked: Question) -> tuple[Estimate, str]:
    difference = contrast([(1.0, cells[asked.left]), (-1.0, cells[asked.right])])
    if asked.name == TO_DENSE:
        return over_draws_or_items(difference)
    found = estimate(difference)
    return found, BOTH if found.known else ""


def over_draws_or_items(difference: Contrast) -> tuple[Estimate, str]:
    """Estimate what plans have lost: over draws and items or, of too few draws for that, over items alone.

    Returns:
        The estimate, and what its interval covers.
    """
    found = estimate(difference)
    if found.known:
        return found, BOTH
    alone = estimate(replace(difference, fixed=True))
    return replace(alone, draws=found.draws), ITEMS_ALONE if alone.known else ""


def row_of(
    evidence: Evidence,
    asked: Question,
    model: str,
    ratio: float,
    outcome: ComparedBy,
    it: Estimate,
    covers: str,
) -> EffectRow:
    """Return the row of an effect; it is one of a family where its interval covers draws and items."""
    declared, (method, recovery), (against, other) = outcome.declared, asked.left, asked.right
    count = len(evidence.tasks(declared.measure)) if outcome.tasks is None else len(outcome.tasks)
    differs = differing(evidence.study, method, against) if asked.name == REFERENCE else []
    return EffectRow(
        question=asked.name,
        model=model,
        ratio=ratio,
        method=method,
        recovery=recovery,
        against=against,
        against_recovery=other,
        outcome=outcome.name,
        measure=declared.measure,
        metric=declared.metric.name,
        task=outcome.task,
        tasks=count if declared.per_task else 1,
        **estimated(it, declared.shown),
        p=it.p_value() if covers == BOTH else np.nan,
        family=f"{asked.name}: {outcome.family}" if covers == BOTH else "",
        covers=covers,
        neutral=declared.neutral,
        better=declared.metric.better,
        unit=declared.unit,
        differs=", ".join(differs),
    )
