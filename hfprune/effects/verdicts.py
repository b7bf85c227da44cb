"""Effect, interval and verdict of a study on each claim of the paper."""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.cells import DENSE, UNCALIBRATED
from hfprune.cells.recovery import Recovery
from hfprune.effects.claims import Judged, Place, base, by_items, compare_items, compare_numbers
from hfprune.effects.condition import (
    ARITHMETIC,
    BY_ARITHMETIC,
    INCONCLUSIVE,
    MEASURED,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    NOT_TESTABLE,
    Condition,
    corrected,
    needs,
    verdict,
)
from hfprune.effects.questions import CLAIM
from hfprune.paper.claims import Claim
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.paper.relations import Paper
from hfprune.results.averages import with_averages
from hfprune.results.declarations import Declaration
from hfprune.results.effect_rows import BOTH, EffectRow, row_of
from hfprune.results.evidence import Evidence, NotApplicableError
from hfprune.statistics.estimates import holm
from hfprune.statistics.outcomes import NotComparableError, NotMeasuredError
from hfprune.study.calibration import Calibrated

PAPERS_MODEL, OTHER_MODEL = "paper's model", "other model"
ABOVE_CONSTANT = (
    "a model, or questions, that show all accuracies above those of a guess and a constant answer"
)
GPU_MEMORY = "a GPU, whose memory is that of the model, while a process's includes interpreter and libraries"


class ClaimRow(NamedTuple):
    """A claim on one model at one ratio: the two sides, our effect and verdict, and the published effect.

    `basis` is `measured`, or `arithmetic` if the budget decides the outcome. The effect itself is its row in
    `effects.csv` (`OF_CLAIM`), by the key from `claim` to `metric`. `p` is the p-value of the verdict: that of an
    effect at the limit where the claim begins to hold. `holm` is the same by Holm's method for all measured claims
    on the study's first calibration, or on its others. `needs` is what would decide an inconclusive comparison if
    the effect stays as large as it is.
    `compares` and `condition` are the claim in words: the effect, and when the claim holds. `form` is the format
    of the effect, `label` its name.
    """

    claim: str
    model: str
    kind: str
    calibration: str
    sequences: int
    ratio: float | None
    metric: str
    left: str = ""
    right: str = ""
    label: str = ""
    unit: str = ""
    form: str = ""
    neutral: float = 0.0
    relation: str = ""
    threshold: float = np.nan
    margin: float = np.nan
    basis: str = MEASURED
    p: float = np.nan
    holm: float = np.nan
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


def evaluate(paper: Paper, evidence: Evidence) -> tuple[pd.DataFrame, list[EffectRow]]:
    """Return the verdicts on all claims, one per claim, model, calibration and ratio, and their effects.

    A claim is judged by plans from the most sequences of each calibration.
    """
    dense = {model: _dense_note(paper, evidence, model) for model in evidence.models}
    rows: list[ClaimRow] = []
    effects: list[EffectRow] = []
    for claim in paper.claims:
        # Where the average counts CrowS-Pairs as an accuracy, the one without it stands beside it.
        with_crows = claim.measure == "zeroshot" and paper.crows & set(evidence.tasks(claim.measure))
        metrics = [claim.metric, AVERAGE_WITHOUT_CROWS] if with_crows else [claim.metric]
        for model, at in _models_and_ratios(paper, claim, evidence):
            for calibrated, metric in product(_calibrations(evidence, model), metrics):
                row, row_effects = _evaluate(paper, claim, evidence, Place(model, calibrated, at), metric)
                notes = [row.note, dense.get(model, "") if claim.effect == "difference" else ""]
                rows.append(row._replace(note="; ".join(filter(None, notes))))
                effects += row_effects
    first, *_ = evidence.study.calibrations
    return _with_holm(pd.DataFrame(rows, columns=ClaimRow._fields), first), effects


def _with_holm(rows: pd.DataFrame, first: str) -> pd.DataFrame:
    """Return the rows with verdicts corrected for all claims on the first calibration, or for those on the others.

    The averages without CrowS-Pairs are corrected apart from both.
    """
    measured = rows["basis"] == MEASURED
    families = [rows["calibration"] == first, rows["metric"] == AVERAGE_WITHOUT_CROWS]
    family = rows[measured].groupby(families)["p"]
    rows["holm"] = family.transform(holm).reindex(rows.index).astype(float)
    verdicts = [
        corrected(row.verdict, row.holm) if row.basis == MEASURED else row.verdict
        for row in rows.itertuples()
    ]
    return rows.assign(verdict=verdicts)


def _models_and_ratios(paper: Paper, claim: Claim, evidence: Evidence) -> list[tuple[str, float | None]]:
    """Return model and ratio of every row of a claim: those of the study, then others that the paper has.

    A model of the study that has none of the claim's ratios is listed with all of them. A model of the paper that
    the study lacks keeps the paper's name.
    """
    in_study = {(cell.model, ratio) for cell in evidence.cells for ratio in (cell.ratio, None)}
    places = []
    for model in evidence.models:
        there = [at for at in claim.ratios if (model, at) in in_study]
        places += [(model, at) for at in there or claim.ratios]
    own = {paper.models.get(model): model for model in evidence.models}
    places += [
        (own.get(printed_name, printed_name), at)
        for printed_name in paper.numbers_of(claim)["model"].unique()
        for at in claim.ratios
        if paper.effect(claim, printed_name, at, claim.metric)
    ]
    return [*dict.fromkeys(places)]


def _calibrations(evidence: Evidence, model: str) -> list[Calibrated]:
    """Return each calibration with the largest number of sequences from which a model has plans.

    A model that the study lacks has the one calibration `UNCALIBRATED`.
    """
    study = evidence.study
    if model not in study.models:
        return [Calibrated(UNCALIBRATED, 0)]
    return [study.largest(name) for name in study.calibrations_of(model)]


def _evaluate(
    paper: Paper, claim: Claim, evidence: Evidence, place: Place, metric: str
) -> tuple[ClaimRow, list[EffectRow]]:
    row = _plain(paper, claim, evidence.declared.find(claim.measure, claim.metric), place, metric)
    if place.model not in evidence.models:
        return row._replace(note="the model is not in the study"), []
    if np.isnan(row.threshold):
        return row._replace(note="nothing is published at this ratio"), []
    try:
        compare = compare_items if by_items(claim, evidence) else compare_numbers
        judged = compare(paper, claim, evidence, place, metric)
    except NotApplicableError as reason:
        return row._replace(verdict=NOT_APPLICABLE, note=str(reason)), []
    except NotMeasuredError as reason:
        return row._replace(note=str(reason)), []
    except NotComparableError as reason:
        return row._replace(verdict=NOT_COMPARABLE, note=str(reason)), []
    row = row._replace(
        left=judged.left.name,
        right=judged.right.name,
        note="; ".join([*judged.constant, *judged.notes, *_stand_ins(claim, evidence, judged)]),
        **_verdict(claim, judged, row.threshold),
    )
    return row, [_effect_row(evidence, claim, row, judged)]


def _plain(paper: Paper, claim: Claim, declared: Declaration, place: Place, metric: str) -> ClaimRow:
    """Return the row of a claim that was not measured."""
    model, calibrated, at = place
    printed_name = paper.models.get(model, model)
    threshold = paper.threshold(claim, printed_name, at)
    printed = paper.effect(claim, printed_name, at, metric)
    label = declared.metric.label
    if claim.effect == "difference" and declared.metric.effect == "ratio":
        label += ", logarithm"
    return ClaimRow(
        claim=claim.id,
        model=model,
        kind=PAPERS_MODEL if printed_name in set(paper.numbers_of(claim)["model"]) else OTHER_MODEL,
        calibration=calibrated.calibration,
        sequences=calibrated.sequences,
        ratio=at,
        metric=metric,
        label=label,
        unit=declared.unit if claim.effect == "difference" else "",
        form="{:.2f}" if claim.effect == "ratio" else declared.metric.effect_form,
        neutral=claim.neutral,
        relation=claim.relation,
        threshold=np.nan if threshold is None else threshold,
        margin=np.nan if claim.margin is None else claim.margin,
        basis=ARITHMETIC if claim.arithmetic else MEASURED,
        published=printed.effect if printed else np.nan,
        confidence=printed.confidence if printed else "",
        anomalies=", ".join(sorted({*claim.anomalies, *(printed.anomalies if printed else ())})),
        sentence=claim.sentence,
        where=claim.where,
        compares=claim.compares,
        condition=claim.condition,
    )


def _verdict(claim: Claim, judged: Judged, threshold: float) -> dict[str, Any]:
    """Return the columns `p`, `needs` and `verdict` by the interval of an effect, before any correction."""
    effect, condition = judged.effect, Condition.of(claim, threshold)
    word = verdict(effect, condition)
    lacking = needs(effect, condition) if word == INCONCLUSIVE else ""
    if claim.arithmetic:
        word = BY_ARITHMETIC.get(word, word)
    if judged.constant and effect.has_interval:
        word, lacking = NOT_TESTABLE, ABOVE_CONSTANT
    if judged.without_gpu and effect.has_interval:
        word, lacking = NOT_TESTABLE, GPU_MEMORY
    p = np.nan if claim.arithmetic else condition.p_value(effect)
    return {"p": p, "needs": lacking, "verdict": word}


def _effect_row(evidence: Evidence, claim: Claim, row: ClaimRow, judged: Judged) -> EffectRow:
    """Return the effect of a claim as a row of the table of effects."""
    return row_of(
        judged.effect,
        np.exp if claim.effect == "ratio" else float,
        left=(judged.left.method, judged.left.recovery),
        right=(judged.right.method, judged.right.recovery),
        covers=BOTH if judged.effect.has_interval and not claim.arithmetic else "",
        family="" if claim.arithmetic or row.metric != claim.metric else CLAIM,
        question=CLAIM,
        claim=claim.id,
        base=base(evidence, claim, judged),
        model=row.model,
        calibration=row.calibration,
        sequences=row.sequences,
        ratio=row.ratio,
        outcome=row.metric,
        measure=claim.measure,
        metric=claim.metric,
        neutral=claim.neutral,
        better=evidence.declared.find(claim.measure, claim.metric).metric.better,
        unit=row.unit,
        form=row.form,
        label=row.label,
    )


def _stand_ins(claim: Claim, evidence: Evidence, judged: Judged) -> Iterator[str]:
    methods = evidence.study.methods
    for measured, side in ((judged.left, claim.left), (judged.right, claim.right)):
        criterion = methods[measured.method].criterion if measured.method in methods else None
        # SDMPrune with its settings for another ratio is SDMPrune.
        if side.methods[0] not in (measured.method, criterion):
            yield f"{measured.method} stands for {side.methods[0]}"


def _dense_note(paper: Paper, evidence: Evidence, model: str) -> str:
    """Return a note if our dense average differs from the published one by more than its standard error."""
    published = paper.numbers[paper.numbers["method"] == DENSE]
    averages = published[(published["model"] == paper.models.get(model)) & (published["task"] == AVERAGE)]
    if averages.empty:
        return ""
    printed = averages.iloc[0]
    tasks = set(published.loc[published["table"].isin([1, 3]), "task"]) - {"", AVERAGE}
    tidy = evidence.results.tidy[
        evidence.results.tidy["model"].eq(model) & evidence.results.tidy["task"].isin(tasks)
    ]
    tidy = tidy[(tidy["method"] == DENSE) & (tidy["recovery"] == Recovery.NONE)]
    ours = with_averages(tidy)
    ours = ours[ours["task"] == AVERAGE]
    if ours.empty or tidy["task"].nunique() < len(tasks):
        return "the dense model's published average was not checked"
    value, stderr = 100 * ours["value"].iloc[0], 100 * ours["stderr"].iloc[0]
    if abs(value - printed["value"]) <= stderr + printed["step"] / 2:
        return ""
    return f"our dense model averages {value:.1f} ± {stderr:.1f}, the published one {printed['printed']}"
