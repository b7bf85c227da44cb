"""What a study has to say on each claim of the paper: effect, interval and verdict, as CSV, Markdown and LaTeX."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hfprune import layout
from hfprune.analysis.averages import AVERAGE, AVERAGE_WITHOUT_CROWS, primary_metric, with_averages
from hfprune.analysis.claims import PER_ITEM, Claim, Paper, Side
from hfprune.analysis.collect import RESULTS, read_collected
from hfprune.analysis.statistics import (
    Estimate,
    NotComparableError,
    Outcomes,
    contrast,
    mcnemar,
    paired_bootstrap,
    ratio,
)
from hfprune.analysis.tables import MISSING, Table, latex, markdown, write_texts
from hfprune.calibration import derive_seed
from hfprune.errors import HfpruneError
from hfprune.results import DENSE, Cell
from hfprune.study import Study

REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = VERDICTS = (
    "reproduced",
    "contradicted",
    "inconclusive",
    "not run",
)
PAPERS_MODEL, OTHER_MODEL = "paper's model", "other model"
CLAIMS, BY_TASK = "claims", "claims_by_task"  # names of the files

# Bare numbers that another run would repeat, so that one run is exact. Times are not among them.
REPEATABLE = ("parameters", "parameter_ratio", "flops", "peak_memory_bytes")


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


class _Measured(NamedTuple):
    """What stands for a side: which method, how a reader would call the cell, and what was measured on it."""

    method: str
    name: str
    data: Any


def verdict(estimate: Estimate, relation: str, than: float) -> str:
    """Return whether the interval lies wholly on the claimed side of `than`, wholly on the other, or neither."""
    low, high = estimate.low - than, estimate.high - than
    if relation == "lower":
        low, high = -high, -low
    if low > 0:
        return REPRODUCED
    return CONTRADICTED if high < 0 else INCONCLUSIVE


class Evidence:
    """What a study measured, by cell."""

    def __init__(self, study: Study, name: str, folder: Path) -> None:
        self.cells = [*layout.cells(name, study)]
        self.measured_tasks = study.measures.zeroshot.tasks if study.measures.zeroshot else []
        self.tidy = read_collected(folder / RESULTS)
        self._folder = folder
        self._read_items = functools.cache(_read_items)

    @property
    def models(self) -> list[str]:
        """The models of the study."""
        return [*dict.fromkeys(cell.model for cell in self.cells)]

    def of_side(
        self, side: Side, model: str, ratio: float | None, read: Callable[[list[Cell]], Any]
    ) -> _Measured:
        """Return the first alternative of a side that `read`, given its cells of all seeds, finds measured.

        Raises:
            NotComparableError: none was measured; says which were looked for.
        """
        reasons = []
        for method, at, recovery in side.alternatives(ratio):
            name = method + ("" if at is None else f" {100 * at:.3g}%, {recovery}")
            cells = [
                cell
                for cell in self.cells
                if (cell.model, cell.method) == (model, method)
                and (at is None or (cell.ratio, cell.recovery) == (at, recovery))
            ]
            if not cells:
                reasons.append(f"{name} is not in the study")
                continue
            try:
                return _Measured(method, name, read(cells))
            except NotComparableError as reason:
                reasons.append(f"{name}: {reason}")
        raise NotComparableError("; ".join(dict.fromkeys(reasons)))

    def outcomes(self, cells: list[Cell], measure: str, metric: str, tasks: list[str]) -> Outcomes:
        """Return the outcomes per item of those seeds of a cell that have all tasks (zero-shot only) measured."""
        found = {}
        for cell in cells:
            folder = self._folder / layout.fill(layout.CELL, cell)
            files = {task: folder / f"zeroshot/{task}.parquet" for task in tasks} or {
                measure: folder / f"{measure}.parquet"
            }
            # The JSON says that a result is there.
            missing = [key for key, file in files.items() if not file.with_suffix(".json").exists()]
            if not missing:
                wanted = None if tasks else metric
                found[cell.seed] = {key: self._read_items(file, wanted) for key, file in files.items()}
        if not found:
            raise NotComparableError(f"{', '.join(missing)} not measured")
        return found

    def numbers(self, cells: list[Cell], ratio: float | None, measure: str, metric: str) -> pd.DataFrame:
        """Return `value` and `stderr` of a bare number, one row per seed."""
        rows = self.tidy[(self.tidy["measure"] == measure) & (self.tidy["metric"] == metric)]
        first = cells[0]
        rows = rows[(rows["model"] == first.model) & (rows["method"] == first.method)]
        if ratio is None:
            rows = rows[rows["ratio"].isna()]
        else:
            rows = rows[(rows["ratio"] == first.ratio) & (rows["recovery"] == first.recovery)]
        if rows.empty:
            raise NotComparableError(f"{measure}, {metric} not measured")
        return rows.drop_duplicates("seed").set_index("seed")[["value", "stderr"]]


def _read_items(path: Path, metric: str | None) -> pd.Series:
    """Return a metric, by default the primary one, by item."""
    try:
        columns = pq.read_schema(path).names
        chosen = metric or primary_metric(columns)
        if chosen not in columns:
            raise NotComparableError(f"has no {chosen}")
        return pd.read_parquet(path, columns=["item", chosen]).set_index("item")[chosen].sort_index()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise HfpruneError(f"{path}: cannot read it ({reason}); delete it and measure again") from error


def evaluate(paper: Paper, study: Study, name: str, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate every claim on the models of a study and, for their published effects, on the paper's models.

    Args:
        paper: the claims, and the published numbers.
        study: which cells there should be.
        name: of the study.
        folder: its results, with `results.parquet` and the cells.

    Returns:
        Columns of `Row`, and of `TaskRow`.

    Raises:
        HfpruneError: a result that is there cannot be read. What is missing makes a claim *not run*.
    """
    evidence = Evidence(study, name, folder)
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
    """Return model and ratio of every row of a claim: what the study has, and what the paper publishes.

    A model of the paper that the study lacks goes by the name it has in the paper.
    """
    own = {model: paper.models.get(model) for model in evidence.models}
    lacking = [model for model in paper.of(claim)["model"].unique() if model not in own.values()]
    in_study = {(cell.model, cell.ratio) for cell in evidence.cells}
    places = [
        (model, at)
        for model, published in [*own.items(), *zip(lacking, lacking, strict=True)]
        for at in claim.ratios
        if (model, at) in in_study
        or (model in own and at is None)
        or (published and paper.effect(claim, published, at, claim.metric))
    ]
    return places or [(model, at) for model in own for at in claim.ratios]


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
    anomalies = set(claim.anomalies)
    if printed := paper.effect(claim, printed_name, at, metric):
        anomalies |= printed.anomalies
        row = row._replace(published=printed.effect, confidence=printed.confidence)
    row = row._replace(anomalies=", ".join(sorted(anomalies)), unit=_unit(claim))
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
    return "points" if claim.measure == "zeroshot" else "difference"


def _compare_items(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> tuple[_Measured, _Measured, Estimate, list[str]]:
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
    return sides[0][1], sides[1][1], paired_bootstrap(differences, seed), notes


def _compare_numbers(
    paper: Paper, claim: Claim, evidence: Evidence, model: str, at: float | None, metric: str
) -> tuple[_Measured, _Measured, Estimate, list[str]]:
    def read(cells: list[Cell]) -> pd.DataFrame:
        return evidence.numbers(cells, at, claim.measure, metric)

    left, right = (evidence.of_side(side, model, at, read) for side in (claim.left, claim.right))
    estimate = ratio(left.data, right.data, metric in REPEATABLE)
    notes = ["measured once, so there is no interval"] if np.isnan(estimate.low) else []
    return left, right, estimate, notes


def _by_task(row: Row, left: Outcomes, right: Outcomes) -> Iterator[TaskRow]:
    """Yield the comparison of each task and seed; McNemar's test only where outcomes are right or wrong."""
    for seed in sorted({*left, *right}):
        pair = [side.get(seed) or (next(iter(side.values())) if len(side) == 1 else None) for side in (left, right)]
        if pair[0] is None or pair[1] is None:
            continue
        for task, ours in pair[0].items():
            a, b = ours.to_numpy(float), pair[1][task].to_numpy(float)
            binary = np.isin([a, b], (0, 1)).all()
            test = mcnemar(a, b) if binary else (None, None, np.nan)
            head = row.claim, row.model, row.ratio, row.left, row.right
            yield TaskRow(*head, seed, task, len(a), 100 * (a.mean() - b.mean()), *test)


def _dense_note(paper: Paper, evidence: Evidence, model: str) -> str:
    """Say where our dense model's average is off the published one by more than its standard error."""
    published = paper.numbers[(paper.numbers["model"] == paper.models.get(model)) & (paper.numbers["method"] == DENSE)]
    averages = published[published["task"] == AVERAGE]
    if averages.empty:
        return ""
    printed = averages.iloc[0]
    scores = paper.numbers.loc[(paper.numbers["method"] == DENSE) & (paper.numbers["table"].isin([1, 3])), "task"]
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
        folder: its results.
        out: folder, created where missing.

    Raises:
        HfpruneError: as `evaluate`.
    """
    rows, by_task = evaluate(paper, study, name, folder)
    tables = [_summary(paper, rows), *(_table(claim, rows[rows["claim"] == claim.id]) for claim in paper.claims)]
    labels = [CLAIMS, *(f"{CLAIMS}-{claim.id}" for claim in paper.claims)]
    texts = {
        "csv": _csv(rows),
        "md": "\n\n".join(map(markdown, tables)),
        "tex": "\n".join(latex(table, label) for table, label in zip(tables, labels, strict=True)),
    }
    write_texts(out, BY_TASK, {"csv": _csv(by_task)})
    write_texts(out, CLAIMS, texts)
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
        "inconclusive: on both. Published effects stand beside ours and enter no verdict."
    ]
    groups = pd.Series(0, shown.index)
    return Table("The paper's claims: number of comparisons by verdict.", counts.reset_index(), shown, groups, notes)


def _table(claim: Claim, rows: pd.DataFrame) -> Table:
    """Return all comparisons of one claim."""
    digits = {"points": 2, "difference": 4, "ratio": 2}[_unit(claim)]
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
    shown["Seeds"] = [str(count) if count else MISSING for count in rows["seeds"]]
    shown["Verdict"], shown["Note"] = rows["verdict"], rows["note"]
    return Table(f"{claim.sentence} ({claim.where})", rows, shown, pd.Series(0, rows.index), _notes(claim, rows))


def _number(value: float, digits: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{digits}f}"


def _notes(claim: Claim, rows: pd.DataFrame) -> list[str]:
    """Say what the effect is, when the claim holds, and what the interval is over."""
    left, right = (" or ".join(side.methods) for side in (claim.left, claim.right))
    effect = f"{left} - {right}, {claim.metric}" + {"points": " (points)"}.get(_unit(claim), "")
    if claim.measure not in PER_ITEM:
        effect = f"{left} / {right}, {claim.metric}"
    if claim.beyond is not None:
        effect += f", less the same at {100 * claim.beyond:.3g} %"
    notes = [f"Effect: {effect}; the claim holds {'above' if claim.relation == 'higher' else 'below'} {claim.threshold:g}."]
    run = rows[rows["verdict"] != NOT_RUN]
    if claim.measure in PER_ITEM and len(run):
        several = "and seeds" if (run["seeds"] > 1).any() else "of one seed"
        notes.append(f"Interval: paired bootstrap over {run['n'].min():,} items {several}.")
    anomalies = sorted({id_ for ids in rows["anomalies"] for id_ in ids.split(", ") if id_})
    if anomalies:
        notes.append(f"Known anomalies: {', '.join(anomalies)}.")
    return notes
