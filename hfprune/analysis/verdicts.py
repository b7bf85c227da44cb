"""Effect, interval and verdict of a study on each claim of the paper."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.averages import with_averages
from hfprune.analysis.condition import (
    INCONCLUSIVE,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    NOT_TESTABLE,
    Condition,
    needs,
    unit_of,
    verdict,
)
from hfprune.analysis.evidence import Evidence, MeasuredSide, NotApplicableError
from hfprune.analysis.outcomes import (
    Draw,
    NotComparableError,
    NotMeasuredError,
    Outcomes,
    contrast,
)
from hfprune.analysis.quotient import quotient
from hfprune.analysis.statistics import MIN_DRAWS, Estimate, estimate
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.paper.relations import Claim, Paper
from hfprune.results import DENSE, Cell

PAPERS_MODEL, OTHER_MODEL = "paper's model", "other model"

# Single numbers that another run would repeat, so one run is exact. Times are not among them. Neither is memory,
# which on a CPU is the memory of the whole process.
REPEATABLE = ("parameters", "parameters_kept", "flops")
ABOVE_CONSTANT = (
    "a model, or questions, that show all accuracies above those of a guess and a constant answer"
)


class ClaimRow(NamedTuple):
    """A claim on one model at one ratio: the two sides, our effect and verdict, and the published effect.

    `basis` is `measured`, or `arithmetic` if the budget decides the outcome. `p` is that of no effect. `draws`
    counts the seeds, and `resamples` the resampled calibrations that the spread over draws is from.
    `minimum_detectable_effect` is the smallest distance from `threshold` that this study would have shown in 80 %
    of repetitions, for ratios a factor; `needs` is what would decide an inconclusive comparison, if the effect is
    as large as found.
    `compares` and `condition` are the claim in words: the effect, and when the claim holds.
    """

    claim: str
    model: str
    kind: str
    ratio: float | None
    metric: str
    left: str = ""
    right: str = ""
    unit: str = ""
    relation: str = ""
    threshold: float = np.nan
    margin: float = np.nan
    basis: str = "measured"
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n: int = 0
    draws: int = 0
    resamples: int = 0
    minimum_detectable_effect: float = np.nan
    needs: str = ""
    published: float = np.nan
    confidence: str = ""
    verdict: str = NOT_RUN
    anomalies: str = ""
    note: str = ""
    sentence: str = ""
    where: str = ""
    compares: str = ""
    condition: str = ""


class Compared(NamedTuple):
    left: MeasuredSide
    right: MeasuredSide
    effect: Estimate
    notes: list[str]
    constant: Sequence[str] = ()
    """Says which accuracies are not above that of a guess or a constant answer: they test no claim."""


def evaluate(paper: Paper, evidence: Evidence) -> pd.DataFrame:
    dense = {model: _dense_note(paper, evidence, model) for model in evidence.models}
    rows: list[ClaimRow] = []
    for claim in paper.claims:
        # Where the average counts CrowS-Pairs as an accuracy, the one without it stands beside it.
        with_crows = claim.measure == "zeroshot" and paper.crows & set(evidence.tasks(claim.measure))
        metrics = [claim.metric, AVERAGE_WITHOUT_CROWS] if with_crows else [claim.metric]
        for model, at in _models_and_ratios(paper, claim, evidence):
            for metric in metrics:
                row = _evaluate(paper, claim, evidence, model, at, metric)
                notes = [row.note, dense.get(model, "") if claim.effect == "difference" else ""]
                rows.append(row._replace(note="; ".join(filter(None, notes))))
    return pd.DataFrame(rows, columns=ClaimRow._fields)


def _models_and_ratios(paper: Paper, claim: Claim, evidence: Evidence) -> list[tuple[str, float | None]]:
    """Return model and ratio of every row of a claim: those of the study, then others that the paper has.

    A model of the study without any of the claim's ratios is listed with all of them. A model of the paper that
    the study lacks has its name in the paper.
    """
    in_study = {(cell.model, ratio) for cell in evidence.cells for ratio in (cell.ratio, None)}
    found = []
    for model in evidence.models:
        there = [at for at in claim.ratios if (model, at) in in_study]
        found += [(model, at) for at in there or claim.ratios]
    own = {paper.models.get(model): model for model in evidence.models}
    found += [
        (own.get(printed_name, printed_name), at)
        for printed_name in paper.of(claim)["model"].unique()
        for at in claim.ratios
        if paper.effect(claim, printed_name, at, claim.metric)
    ]
    return [*dict.fromkeys(found)]


def _evaluate(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> ClaimRow:
    printed_name = paper.models.get(model, model)
    threshold = paper.threshold(claim, printed_name, at)
    printed = paper.effect(claim, printed_name, at, metric)
    row = ClaimRow(
        claim=claim.id,
        model=model,
        kind=PAPERS_MODEL if printed_name in set(paper.of(claim)["model"]) else OTHER_MODEL,
        ratio=at,
        metric=metric,
        unit=unit_of(claim, evidence.declared),
        relation=claim.relation,
        threshold=np.nan if threshold is None else threshold,
        margin=np.nan if claim.margin is None else claim.margin,
        basis="arithmetic" if claim.arithmetic else "measured",
        published=printed.effect if printed else np.nan,
        confidence=printed.confidence if printed else "",
        anomalies=", ".join(sorted({*claim.anomalies, *(printed.anomalies if printed else ())})),
        sentence=claim.sentence,
        where=claim.where,
        compares=claim.compares,
        condition=claim.condition,
    )
    if model not in evidence.models:
        return row._replace(note="the model is not in the study")
    if threshold is None:
        return row._replace(note="nothing is published at this ratio")
    try:
        compare = compare_items if _by_items(claim, evidence) else _compare_numbers
        found = compare(paper, claim, evidence, model, at, metric)
    except NotApplicableError as reason:
        return row._replace(verdict=NOT_APPLICABLE, note=str(reason))
    except NotMeasuredError as reason:
        return row._replace(note=str(reason))
    except NotComparableError as reason:
        return row._replace(verdict=NOT_COMPARABLE, note=str(reason))
    judged = _judged(claim, found.effect, threshold)
    if found.constant and found.effect.known:
        judged |= {"verdict": NOT_TESTABLE, "needs": ABOVE_CONSTANT}
    return row._replace(
        left=found.left.name,
        right=found.right.name,
        note="; ".join([*found.constant, *found.notes, *_stand_ins(claim, evidence, found)]),
        **judged,
    )


def _judged(claim: Claim, effect: Estimate, threshold: float) -> dict[str, Any]:
    condition = Condition.of(claim, threshold)
    said = verdict(effect, condition)
    shown = np.exp if claim.effect == "ratio" else float
    return {
        "effect": shown(effect.value),
        "low": shown(effect.low),
        "high": shown(effect.high),
        "p": effect.p_value(),
        "n": effect.n,
        "draws": effect.draws,
        "resamples": effect.resamples,
        "minimum_detectable_effect": shown(effect.minimum()),
        "needs": needs(effect, condition) if said == INCONCLUSIVE else "",
        "verdict": said,
    }


def _stand_ins(claim: Claim, evidence: Evidence, found: Compared) -> Iterator[str]:
    methods = evidence.study.methods
    for measured, side in ((found.left, claim.left), (found.right, claim.right)):
        criterion = methods[measured.method].criterion if measured.method in methods else None
        # SDMPrune with its settings for another ratio is SDMPrune.
        if side.methods[0] not in (measured.method, criterion):
            yield f"{measured.method} stands for {side.methods[0]}"


def _by_items(claim: Claim, evidence: Evidence) -> bool:
    """Tell whether a claim is judged by outcomes per item; a ratio is, if the outcomes are logarithms."""
    metric = evidence.declared.find(claim.measure, claim.metric).metric
    return claim.effect == "difference" or (metric.effect == "ratio" and bool(metric.items))


def compare_items(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> Compared:
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

    terms = claim.terms(at)
    sides = [(sign, evidence.of_side(side, model, its_ratio, read)) for sign, side, its_ratio in terms]
    scale = 1.0 if claim.effect == "ratio" else declared.metric.scale
    differences = contrast([(scale * sign, side.data) for sign, side in sides])
    found = Compared(sides[0][1], sides[1][1], estimate(differences), notes)
    constant = evidence.constant(model, claim.measure, tasks) if tasks else {}
    return found._replace(constant=_not_above(constant, [side for _, side in sides])) if constant else found


def _not_above(constant: Outcomes, sides: Iterable[MeasuredSide]) -> list[str]:
    """Name the sides whose accuracy is not significantly above that of a guess or a constant answer."""
    found = []
    for side in sides:
        mine = {draw: {task: each[task] for task in constant[None]} for draw, each in side.data.items()}
        above = estimate(contrast([(100, mine), (-100, constant)]))
        if above.known and above.low <= 0:
            found.append(f"{side.name}: {above.value:+.1f} ({above.low:+.1f} to {above.high:+.1f})")
    which = ", ".join(dict.fromkeys(found)).replace("-", "−")
    return [f"not significantly above a guess or a constant answer, in points: {which}"] if found else []


def _compare_numbers(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> Compared:
    measured = claim.measured_as or metric

    def read(cells: list[Cell]) -> dict[Draw | None, float] | None:
        if claim.measured_as and cells[0].method == DENSE:
            return None  # the other side's number already is the ratio
        return evidence.numbers(cells, at, claim.measure, measured)

    left, right = (evidence.of_side(side, model, at, read) for side in (claim.left, claim.right))
    left_data, right_data = (left.data, right.data) if left.data else (right.data, None)
    effect = quotient(left_data, right_data, measured in REPEATABLE)
    few = f"measured in fewer than {MIN_DRAWS} processes, so there is no interval"
    return Compared(left, right, effect, [] if effect.known else [few])


def _dense_note(paper: Paper, evidence: Evidence, model: str) -> str:
    """Return a note if our dense average differs from the published one by more than its standard error."""
    published = paper.numbers[paper.numbers["method"] == DENSE]
    averages = published[(published["model"] == paper.models.get(model)) & (published["task"] == AVERAGE)]
    if averages.empty:
        return ""
    printed = averages.iloc[0]
    tasks = set(published.loc[published["table"].isin([1, 3]), "task"]) - {"", AVERAGE}
    tidy = evidence.tidy[evidence.tidy["model"].eq(model) & evidence.tidy["task"].isin(tasks)]
    tidy = tidy[(tidy["method"] == DENSE) & (tidy["recovery"] == "none")]
    ours = with_averages(tidy)
    ours = ours[ours["task"] == AVERAGE]
    if ours.empty or tidy["task"].nunique() < len(tasks):
        return "the dense model's published average was not checked"
    value, stderr = 100 * ours["value"].iloc[0], 100 * ours["stderr"].iloc[0]
    if abs(value - printed["value"]) <= stderr + printed["step"] / 2:
        return ""
    return f"our dense model averages {value:.1f} ± {stderr:.1f}, the published one {printed['printed']}"
