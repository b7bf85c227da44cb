"""The effect of a claim of the paper between the cells of a study that are its two sides."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.cells import DENSE, Cell
from hfprune.effects.comparisons import mean
from hfprune.paper.claims import Claim
from hfprune.paper.printed import AVERAGE_WITHOUT_CROWS
from hfprune.paper.relations import Paper
from hfprune.results.effect import Effect
from hfprune.results.evidence import Evidence, MeasuredSide
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Draw, NotMeasuredError, Outcomes, contrast
from hfprune.statistics.quotient import quotient
from hfprune.study.calibration import Calibrated


class Place(NamedTuple):
    """Where a claim is judged: a model, a calibration, and a ratio, if the claim is about one."""

    model: str
    calibrated: Calibrated
    ratio: float | None


class Judged(NamedTuple):
    """The two sides of a claim that were measured, and their effect."""

    left: MeasuredSide
    right: MeasuredSide
    effect: Estimate
    notes: list[str]
    constant: Sequence[str] = ()
    """Sentences on accuracies that are not above that of a guess or a constant answer, and so test no claim."""
    without_gpu: bool = False
    """Whether the memory of a process was measured for a claim about a GPU's, and so does not test it."""


def by_items(claim: Claim, evidence: Evidence) -> bool:
    """Tell whether a claim is judged by outcomes per item, as is a ratio whose outcomes are logarithms."""
    metric = evidence.declared.find(claim.measure, claim.metric).metric
    return claim.effect == "difference" or (metric.effect == "ratio" and bool(metric.items))


def compare_items(paper: Paper, claim: Claim, evidence: Evidence, place: Place, metric: str) -> Judged:
    """Return the effect of a claim on outcomes per item, on the paper's tasks if the claim is about tasks.

    Raises:
        NotComparableError: a side was not measured, or the two were measured on different draws or items.
    """
    declared, tasks, notes = evidence.declared.find(claim.measure, claim.metric), None, []
    if declared.kind == "zeroshot":
        papers = set(paper.tasks(claim)) - (paper.crows if metric == AVERAGE_WITHOUT_CROWS else set())
        tasks = [task for task in evidence.tasks(claim.measure) if task in papers]
        if not tasks:
            raise NotMeasuredError("the study has none of the paper's tasks")
        if len(tasks) < len(papers):
            notes.append(f"{len(tasks)} of the paper's {len(papers)} tasks")

    def read(cells: list[Cell]) -> Outcomes:
        return evidence.outcomes(cells, claim.measure, claim.metric, tasks)

    model, calibrated, ratio = place
    sides = [
        (sign, evidence.measured_side(side, model, calibrated, own_ratio, read))
        for sign, side, own_ratio in claim.terms(ratio)
    ]
    scale = 1.0 if claim.effect == "ratio" else declared.metric.scale
    differences = contrast([(scale * sign, side.data) for sign, side in sides])
    judged = Judged(sides[0][1], sides[1][1], estimate(differences), notes)
    constant = evidence.constant(model, claim.measure, tasks) if tasks else {}
    must_be_above = [
        side for _, side in sides if claim.above_constant == "both" or side.name == judged.right.name
    ]
    return judged._replace(constant=_not_above(constant, must_be_above)) if constant else judged


def _not_above(constant: Outcomes, sides: Iterable[MeasuredSide]) -> list[str]:
    """Name the sides whose accuracy is not significantly above that of a guess or a constant answer."""
    names = []
    for side in sides:
        own = {draw: {task: tasks[task] for task in constant[None]} for draw, tasks in side.data.items()}
        above = estimate(contrast([(100, own), (-100, constant)]))
        if above.has_interval and above.low <= 0:
            effect = Effect(above.value, above.low, above.high, form="{:+.1f}")
            names.append(f"{side.name}: {effect}")
    which = ", ".join(dict.fromkeys(names))
    return [f"not significantly above a guess or a constant answer, in points: {which}"] if names else []


def compare_numbers(paper: Paper, claim: Claim, evidence: Evidence, place: Place, metric: str) -> Judged:
    """Return the effect of a claim on single numbers: the logarithm of left / right, by `quotient`.

    Only one side's number is read where this already is the ratio (`Claim.measured_as`).

    Raises:
        NotComparableError: a side was not measured, the two have different draws, or a number is zero or less.
    """
    measured = claim.measured_as or metric

    def read(cells: list[Cell]) -> dict[Draw | None, float] | None:
        if claim.measured_as and cells[0].method == DENSE:
            return None  # the other side's number already is the ratio
        return evidence.numbers(cells, place.ratio, claim.measure, measured)

    left, right = (evidence.measured_side(side, *place, read) for side in (claim.left, claim.right))
    left_data, right_data = (left.data, right.data) if left.data else (right.data, None)
    repeatable = evidence.declared.find(claim.measure, measured).metric.repeatable
    effect = quotient(left_data, right_data, repeatable)
    few = f"measured in fewer than {MIN_DRAWS} processes, so there is no interval"
    judged = Judged(left, right, effect, [] if effect.has_interval else [few])
    return judged._replace(without_gpu=claim.on_gpus and not evidence.on_gpus(claim.measure))


def base(evidence: Evidence, claim: Claim, judged: Judged) -> float:
    """Return the right side's own outcome, in the units shown; NaN where the other side's number is the ratio."""
    metric = evidence.declared.find(claim.measure, claim.metric).metric
    if not judged.right.data or not judged.left.data:
        return np.nan
    if by_items(claim, evidence):
        return metric.scale * mean(judged.right.data)
    return metric.scale * float(np.mean([*judged.right.data.values()]))
