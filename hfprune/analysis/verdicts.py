"""What a study has to say on each claim of the paper: effect, interval and verdict, as CSV, Markdown and LaTeX."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.averages import AVERAGE, AVERAGE_WITHOUT_CROWS, with_averages
from hfprune.analysis.claims import PER_ITEM, Claim, Paper
from hfprune.analysis.collect import CLAIMS
from hfprune.analysis.evidence import Evidence, Measured
from hfprune.analysis.statistics import (
    Estimate,
    NotComparableError,
    Outcomes,
    by_seed,
    contrast,
    documents_of,
    mcnemar,
    paired_bootstrap,
    ratio,
)
from hfprune.analysis.style import metric_label
from hfprune.analysis.typeset import MISSING, Table, latex, markdown, write_texts
from hfprune.calibration import derive_seed
from hfprune.results import DENSE, Cell
from hfprune.study import Study

REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = VERDICTS = (
    "reproduced",
    "contradicted",
    "inconclusive",
    "not run",
)
PAPERS_MODEL, OTHER_MODEL = "paper's model", "other model"

# Bare numbers that another run would repeat, so that one run is exact. Times are not among them, nor is memory,
# which on a CPU is what the system saw of the process.
REPEATABLE = ("parameters", "parameter_ratio", "flops")


class Row(NamedTuple):
    """A claim on one model at one ratio: what was compared, what came out, and the published effect beside it."""

    claim: str
    model: str
    kind: str
    ratio: float | None
    metric: str
    left: str = ""
    right: str = ""
    unit: str = ""
    relation: str = ""
    than: float = np.nan
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    seeds: int = 0
    published: float = np.nan
    confidence: str = ""
    verdict: str = NOT_RUN
    anomalies: str = ""
    note: str = ""
    sentence: str = ""
    where: str = ""


class TaskRow(NamedTuple):
    """The two sides of a claim on one task with one seed: difference in points, and McNemar's test."""

    claim: str
    model: str
    ratio: float | None
    left: str
    right: str
    seed: int
    task: str
    n: int
    effect: float
    left_only: int | None
    right_only: int | None
    p_value: float


def verdict(estimate: Estimate, relation: str, than: float) -> str:
    """Return whether the interval lies wholly on the claimed side of `than`, wholly on the other, or neither."""
    low, high = estimate.low - than, estimate.high - than
    if relation == "lower":
        low, high = -high, -low
    if low > 0:
        return REPRODUCED
    return CONTRADICTED if high < 0 else INCONCLUSIVE


def evaluate(
    paper: Paper, study: Study, name: str, folder: Path, tidy: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate every claim on the models of a study and, for their published effects, on the paper's models.

    Args:
        paper: the claims, and the published numbers.
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        tidy: folder that `hfprune.analysis.collect.collect` wrote to.

    Returns:
        Columns of `Row`, and of `TaskRow`.

    Raises:
        HfpruneError: a result that is there cannot be read. What is missing makes a claim *not run*.
    """
    evidence = Evidence(study, name, folder, tidy)
    dense = {model: _dense_note(paper, evidence, model) for model in evidence.models}
    rows: list[Row] = []
    tasks: list[TaskRow] = []
    for claim in paper.claims:
        for model, at in _places(paper, claim, evidence):
            for metric in _metrics(paper, claim, evidence):
                row, by_task = _evaluate(paper, claim, evidence, model, at, metric)
                notes = [row.note, dense.get(model, "") if claim.measure in ("zeroshot", "fidelity") else ""]
                rows.append(row._replace(note="; ".join(filter(None, notes))))
                tasks += by_task
    return pd.DataFrame(rows, columns=Row._fields), pd.DataFrame(tasks, columns=TaskRow._fields)


def _places(paper: Paper, claim: Claim, evidence: Evidence) -> list[tuple[str, float | None]]:
    """Return model and ratio of every row of a claim: those of the study, then what else the paper publishes.

    A model of the study that has none of the claim's ratios is listed with all of them, and a model of the paper
    that the study lacks goes by its name in the paper.
    """
    in_study = {(cell.model, cell.ratio) for cell in evidence.cells} | {
        (model, None) for model in evidence.models
    }
    places = []
    for model in evidence.models:
        there = [at for at in claim.ratios if (model, at) in in_study]
        places += [(model, at) for at in there or claim.ratios]
    own = {paper.models.get(model): model for model in evidence.models}
    for printed_name in paper.of(claim)["model"].unique():
        for at in claim.ratios:
            place = own.get(printed_name, printed_name), at
            if place not in places and paper.effect(claim, printed_name, at, claim.metric):
                places.append(place)
    return places


def _metrics(paper: Paper, claim: Claim, evidence: Evidence) -> list[str]:
    """Return the claim's metric and, where the average counts CrowS-Pairs as an accuracy, the one without it."""
    with_crows = claim.measure == "zeroshot" and paper.crows & set(evidence.measured_tasks)
    return [claim.metric, AVERAGE_WITHOUT_CROWS] if with_crows else [claim.metric]


def _evaluate(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> tuple[Row, list[TaskRow]]:
    printed_name = paper.models.get(model, model)
    kind = PAPERS_MODEL if printed_name in set(paper.of(claim)["model"]) else OTHER_MODEL
    row = Row(claim.id, model, kind, at, metric, relation=claim.relation, than=claim.threshold)
    row = row._replace(unit=_unit(claim), sentence=claim.sentence, where=claim.where)
    anomalies = set(claim.anomalies)
    if printed := paper.effect(claim, printed_name, at, metric):
        anomalies |= printed.anomalies
        row = row._replace(published=printed.effect, confidence=printed.confidence)
    row = row._replace(anomalies=", ".join(sorted(anomalies)))
    if model not in evidence.models:
        return row._replace(note="the model is not in the study"), []
    try:
        compare = _compare_items if claim.measure in PER_ITEM else _compare_numbers
        left, right, estimate, notes = compare(paper, claim, evidence, model, at, metric)
    except NotComparableError as reason:
        return row._replace(note=str(reason)), []
    for measured, side in ((left, claim.left), (right, claim.right)):
        if measured.method != side.methods[0]:
            notes.append(f"{measured.method} stands for {side.methods[0]}")
    row = row._replace(
        left=left.name,
        right=right.name,
        effect=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        seeds=estimate.seeds,
        verdict=verdict(estimate, claim.relation, claim.threshold),
        note="; ".join(notes),
    )
    by_task = metric == AVERAGE and claim.beyond is None
    return row, [*_by_task(row, left.data, right.data)] if by_task else []


def _unit(claim: Claim) -> str:
    if claim.measure not in PER_ITEM:
        return "ratio"
    return "points" if claim.measure == "zeroshot" else metric_label(claim.metric)


def _compare_items(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> tuple[Measured, Measured, Estimate, list[str]]:
    tasks, notes = [], []
    if claim.measure == "zeroshot":
        papers = set(paper.tasks(claim)) - (paper.crows if metric == AVERAGE_WITHOUT_CROWS else set())
        tasks = [task for task in evidence.measured_tasks if task in papers]
        if not tasks:
            raise NotComparableError("the study has none of the paper's tasks")
        if len(tasks) < len(papers):
            notes.append(f"{len(tasks)} of the paper's {len(papers)} tasks")

    def read(cells: list[Cell]) -> Outcomes:
        return evidence.outcomes(cells, claim.measure, metric, tasks)

    sides = [
        (sign * weight, evidence.of_side(side, model, ratio_, read))
        for sign, ratio_ in claim.ratios_of(at)
        for weight, side in ((1, claim.left), (-1, claim.right))
    ]
    seed = derive_seed(0, "claims", claim.id, model, at, metric)
    scale = 100.0 if claim.measure == "zeroshot" else 1.0
    differences = contrast([(scale * weight, side.data) for weight, side in sides])
    estimate = paired_bootstrap(differences, seed, documents_of(sides[0][1].data))
    return sides[0][1], sides[1][1], estimate, notes


def _compare_numbers(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> tuple[Measured, Measured, Estimate, list[str]]:
    def read(cells: list[Cell]) -> pd.DataFrame:
        if claim.measured_as and cells[0].method == DENSE:
            return one  # the other side's number is a ratio to this one already
        return evidence.numbers(cells, at, claim.measure, claim.measured_as or metric)

    one = pd.DataFrame({"value": [1.0], "stderr": [0.0], "n": [1]})
    left, right = (evidence.of_side(side, model, at, read) for side in (claim.left, claim.right))
    pair = left.data, right.data
    if claim.measured_as is not None:
        pair = next(side.data for side in (left, right) if side.method != DENSE), one
    estimate = ratio(*pair, metric in REPEATABLE)
    notes = ["measured once, so there is no interval"] if np.isnan(estimate.low) else []
    return left, right, estimate, notes


def _by_task(row: Row, left: Outcomes, right: Outcomes) -> Iterator[TaskRow]:
    """Yield the comparison of each task and seed; McNemar's test only where outcomes are right or wrong."""
    head = row.claim, row.model, row.ratio, row.left, row.right
    for seed, (ours, theirs) in by_seed([left, right]).items():
        for task in ours:
            a, b = ours[task].to_numpy(float), theirs[task].to_numpy(float)
            test = mcnemar(a, b) if np.isin([a, b], (0, 1)).all() else (None, None, np.nan)
            yield TaskRow(*head, seed, task, len(a), 100 * (a.mean() - b.mean()), *test)


def _dense_note(paper: Paper, evidence: Evidence, model: str) -> str:
    """Say where our dense model's average is off the published one by more than its standard error."""
    published = paper.numbers[
        (paper.numbers["model"] == paper.models.get(model)) & (paper.numbers["method"] == DENSE)
    ]
    averages = published[published["task"] == AVERAGE]
    if averages.empty:
        return ""
    printed = averages.iloc[0]
    scores = paper.numbers.loc[
        (paper.numbers["method"] == DENSE) & (paper.numbers["table"].isin([1, 3])), "task"
    ]
    tasks = sorted(set(scores) - {"", AVERAGE})
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


def write_claims(paper: Paper, study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `claims.csv`, `.md` and `.tex` and `claims_by_task.csv`, and return the rows of `claims.csv`.

    Args:
        paper: the claims, and the published numbers.
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        out: folder that `hfprune.analysis.collect.collect` wrote to, and this does too.

    Raises:
        HfpruneError: as `evaluate`.
    """
    rows, by_task = evaluate(paper, study, name, folder, out)
    tables = [
        _summary(paper, rows),
        *(_table(claim, rows[rows["claim"] == claim.id]) for claim in paper.claims),
    ]
    name = CLAIMS.removesuffix(".csv")
    labels = [name, *(f"{name}-{claim.id}" for claim in paper.claims)]
    texts = {
        "csv": _csv(rows),
        "md": "\n\n".join(map(markdown, tables)),
        "tex": "\n".join(latex(table, label) for table, label in zip(tables, labels, strict=True)),
    }
    write_texts(out, f"{name}_by_task", {"csv": _csv(by_task)})
    write_texts(out, name, texts)
    return rows


def _csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def _summary(paper: Paper, rows: pd.DataFrame) -> Table:
    """Return how often each claim met each verdict, over models, ratios and both averages."""
    counts = pd.crosstab(rows["claim"], rows["verdict"]).reindex(
        index=[claim.id for claim in paper.claims], columns=[*VERDICTS], fill_value=0
    )
    shown = counts.astype(str).reset_index().rename(columns=str.capitalize)
    shown["Claim"] = [claim.sentence for claim in paper.claims]
    notes = [
        "Reproduced: the whole 95 % interval of our effect is on the claimed side; contradicted: on the other; "
        "inconclusive: on both, or there is none. Published effects stand beside ours and enter no verdict. "
        "Each comparison stands by itself: of a hundred without any effect, five intervals would miss it."
    ]
    groups = pd.Series(0, shown.index)
    return Table(
        "The paper's claims: number of comparisons by verdict.", counts.reset_index(), shown, groups, notes
    )


def _table(claim: Claim, rows: pd.DataFrame) -> Table:
    """Return all comparisons of one claim."""
    digits = 4 if claim.measure in ("fidelity", "perplexity") else 2
    shown = rows[["model", "kind"]].rename(columns=str.capitalize)
    if rows["ratio"].notna().any():
        shown["Ratio"] = [f"{100 * at:.3g}%" for at in rows["ratio"]]
    if rows["metric"].nunique() > 1:
        shown["Metric"] = rows["metric"]
    shown["Effect"] = [_number(value, digits) for value in rows["effect"]]
    shown["95 % interval"] = [
        MISSING if np.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"
        for low, high in zip(rows["low"], rows["high"], strict=True)
    ]
    marks = rows["confidence"].where(rows["confidence"].isin(["suspect", "tentative"]), "")
    shown["Published"] = [
        _number(value, digits) + (f" ({mark})" if mark else "")
        for value, mark in zip(rows["published"], marks, strict=True)
    ]
    for name, heading in {"n": "Items", "seeds": "Seeds"}.items():
        shown[heading] = [f"{count:,}" if count else MISSING for count in rows[name]]
    shown["Verdict"], shown["Note"] = rows["verdict"], rows["note"]
    return Table(
        f"{claim.sentence} ({claim.where})", rows, shown, pd.Series(0, rows.index), _notes(claim, rows)
    )


def _number(value: float, digits: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{digits}f}"


def _notes(claim: Claim, rows: pd.DataFrame) -> list[str]:
    """Say what the effect is, when the claim holds, and what the interval is over."""
    left, right = (" or ".join(side.methods) for side in (claim.left, claim.right))
    effect = f"{left} {'-' if claim.measure in PER_ITEM else '/'} {right}, {claim.metric}"
    if claim.beyond is not None:
        effect += f", less the same at {100 * claim.beyond:.3g} %"
    side = "above" if claim.relation == "higher" else "below"
    notes = [f"Effect: {effect}; the claim holds {side} {claim.threshold:g}."]
    run = rows[rows["verdict"] != NOT_RUN]
    if claim.measure in PER_ITEM and len(run):
        several = "and seeds" if (run["seeds"] > 1).any() else "alone, as there is one seed"
        notes.append(f"Interval: paired bootstrap over items {several}.")
    anomalies = sorted({id_ for ids in rows["anomalies"] for id_ in ids.split(", ") if id_})
    if anomalies:
        notes.append(f"Known anomalies: {', '.join(anomalies)}.")
    return notes
