"""The paper's eight tables, our rows beside the published ones, and those that the paper lacks."""

from pathlib import Path

import pandas as pd

from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    CROWS,
    over_seeds,
    spread,
    with_averages,
)
from hfprune.analysis.declarations import ALL_SHOWN, Declarations, read_declarations
from hfprune.analysis.tidy import (
    CALIBRATION,
    CELL_COLUMNS,
    LEARNING,
    applicable,
    blank_cells,
    read_companion,
    read_labels,
    read_results,
)
from hfprune.paper.published import Published, read_published
from hfprune.report import notes
from hfprune.report.calibration import calibration_table
from hfprune.report.columns import (
    COST_COLUMNS,
    FOLLOWING,
    OUTPUT,
    OUTPUTS,
    PAPERS_COLUMNS,
    PAPERS_UNITS,
    PER_TASK,
    SPECS,
    Column,
    Spec,
    high,
    near_half,
)
from hfprune.report.learning import learning_table
from hfprune.report.measures import measures_table
from hfprune.report.rows import OURS, PAPER, ROW, SPREADS, footnotes_of, in_order, lay_out, with_blanks
from hfprune.report.style import Look, looks, metric_label, tasks_in_order
from hfprune.report.tradeoff import tradeoff_table
from hfprune.report.typeset import Table, write_table
from hfprune.results import DENSE


def write_tables(results: Path, paper: Path, out: Path) -> None:
    """Write the tables of `SPECS`, and those of other measures, calibration, recovery and speed.

    Each is written as CSV, Markdown and LaTeX.

    The paper's tables have one row per model, method, ratio, recovery and source (`paper` or `ours`). The CSV has
    plain numbers, with accuracies in percent and ratios as fractions; the others have `value ± spread`.

    Args:
        results: the `results.parquet` of `hfprune.analysis.collect.collect`, with its companions beside it; the
            CSV is read if only that was kept.
        paper: folder of the published tables.
        out: folder, created if missing.

    Raises:
        HfpruneError: `results` or a published table is missing or broken, or a task has no metric that the paper's
            rule knows.
    """
    tidy, published = read_results(results), read_published(paper)
    declared = read_declarations(results.parent)
    named = looks({*tidy["method"], *published.numbers["method"]}, read_labels(results.parent))
    for number, (name, spec) in enumerate(SPECS.items(), 1):
        table = make_table(number, spec, tidy, declared, published, named)
        _write(out, name, table)
    _write(out, "measures", measures_table(tidy, declared, published, named))
    marks = read_companion(results.parent, CALIBRATION)
    _write(out, "calibration", calibration_table(applicable(tidy), marks, declared))
    curves = read_companion(results.parent, LEARNING)
    _write(out, "learning", learning_table(curves, named))
    _write(out, "tradeoff", tradeoff_table(applicable(tidy), declared, marks, named))


def _write(out: Path, name: str, table: Table) -> None:
    write_table(out, name, table)


def make_table(
    number: int,
    spec: Spec,
    tidy: pd.DataFrame,
    declared: Declarations,
    published: Published,
    looks: dict[str, Look],
) -> Table:
    """Make the paper's table of this number from the tidy table and the published numbers."""
    theirs = published.numbers[published.numbers["table"] == number]
    theirs = theirs.assign(key=theirs["column"], source=PAPER).drop(columns="label")
    ours = _ours(spec, tidy, declared, published, set(theirs["model"]))
    columns = _columns(spec, ours, theirs, declared)
    cells = _following(pd.concat([theirs, ours], ignore_index=True))
    cells = in_order(cells[cells["key"].isin(columns)], published, looks)
    present = set(cells["key"])
    columns = {key: column for key, column in columns.items() if key in present}
    footnotes = footnotes_of(cells)
    numbers, shown, groups = lay_out(cells, columns, SPREADS[spread(ours)], footnotes, looks)
    below = [
        *notes.source_notes(shown, cells, published.names),
        *(notes.averages(ours, theirs, published, declared.first("zeroshot")) if AVERAGE in columns else []),
        *notes.corpora(ours, columns, declared.of_kind(*ALL_SHOWN)),
        *spec.notes,
        *(f"{sign} {confidence}." for confidence, sign in footnotes.items()),
        *(f"{anomaly}: {claim}" for anomaly, claim in published.about(number).items()),
    ]
    caption = f"{spec.caption} The paper's Table {number} beside ours."
    return Table(caption, numbers, shown, groups, below, numbers["model"])


def _ours(
    spec: Spec, tidy: pd.DataFrame, declared: Declarations, published: Published, in_table: set[str]
) -> pd.DataFrame:
    """Return our numbers for a table over seeds, one per row, with the `key` of their column."""
    kept = tidy[~tidy["task"].isin(spec.without)]
    values = _chosen(spec, over_seeds(_measured(applicable(kept), declared)), published, in_table)
    blanks = _chosen(spec, blank_cells(tidy), published, in_table)
    if set(spec.columns) & {*COST_COLUMNS}:  # the cost of scores has no ratio
        blanks = blanks[:0]
    return with_blanks(values.assign(source=OURS), blanks)


def _chosen(spec: Spec, rows: pd.DataFrame, published: Published, in_table: set[str]) -> pd.DataFrame:
    """Return the rows of a table, with the paper's names of models."""
    rows = rows.assign(model=published.model(rows["model"]))
    if spec.own_models:
        rows = rows[rows["model"].isin(in_table | {*rows["model"]} - {*published.names.values()})]
    return rows.query(spec.ours) if spec.ours else rows


def _measured(tidy: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return tidy rows in the paper's units, each with the `key` of its column."""
    accuracy = with_averages(tidy, declared.first("zeroshot"))
    if CROWS not in set(accuracy["metric"]):
        accuracy = accuracy[accuracy["task"] != AVERAGE_WITHOUT_CROWS]
    accuracy = accuracy.assign(key=accuracy["task"], scale=100.0, shift=0.0)

    outputs = tidy[tidy["measure"].isin(declared.of_kind(*ALL_SHOWN))]
    outputs = outputs.assign(key=outputs["metric"] + _suffix(outputs), scale=1.0, shift=0.0)

    others = pd.concat([tidy[tidy["measure"].isin(map(declared.first, ("latency", "cost")))], _sizes(tidy)])
    pairs = zip(others["measure"].map(declared.kind), others["metric"], strict=True)
    units = [PAPERS_UNITS.get(pair, (None, 1, 0)) for pair in pairs]
    others[["key", "scale", "shift"]] = pd.DataFrame(units, others.index, ["key", "scale", "shift"])

    parts = [part for part in (accuracy, outputs, others.dropna(subset="key")) if len(part)]
    rows = pd.concat(parts or [others], ignore_index=True)
    scale, shift = rows.pop("scale").astype(float), rows.pop("shift").astype(float)
    rows["value"] = rows["value"] * scale + shift
    rows["stderr"] *= scale
    return rows


def _suffix(outputs: pd.DataFrame) -> pd.Series:
    """Return the corpus of each row if its metric has several, or the measure if those share a corpus."""
    places = outputs[["metric", "measure", "task"]].drop_duplicates()
    several = outputs["metric"].map(places.groupby("metric").size()) > 1
    shared = outputs["metric"].map(
        places.groupby("metric")["task"].agg(lambda tasks: tasks.duplicated().any())
    )
    names = outputs["task"].where(~shared.fillna(False).astype(bool), outputs["measure"])
    return (" " + names).where(several, "")


def _sizes(tidy: pd.DataFrame) -> pd.DataFrame:
    """Return the number of parameters of every cell.

    A plan gives the number for its cells, with any recovery, and for the dense model.
    """
    by = [part for part in CELL_COLUMNS if part != "recovery"]
    plans = tidy[tidy["measure"] == "size"].pivot_table("value", by, "metric")
    plans = plans.reindex(columns=["parameters", "parameter_ratio"])
    whole = (plans["parameters"] / (1 - plans["parameter_ratio"])).round().groupby("model").first()
    cells = tidy.loc[tidy["ratio"].notna(), CELL_COLUMNS].drop_duplicates()
    pruned = cells.merge(plans.reset_index(), "left", by)["parameters"].set_axis(cells.index)
    value = pruned.where(cells["method"] != DENSE, cells["model"].map(whole))
    return cells.assign(measure="size", task="", metric="parameters", value=value).dropna(subset="value")


def _following(cells: pd.DataFrame) -> pd.DataFrame:
    """Add the metrics that follow from others; to published rows only those that the table does not print."""
    printed = set(cells.loc[cells["source"] == PAPER, "key"])
    parts = [cells]
    for key, (raw, method, formula) in FOLLOWING.items():
        rows = cells[(cells["key"] == raw) & ((cells["source"] == OURS) | (key not in printed))]
        reference = rows[(rows["method"] == method) & (rows["recovery"] == "none")]
        reference = reference[["model", "source", "value"]]
        rows = rows.merge(reference, on=["model", "source"], suffixes=("", "_reference"))
        value = formula(rows["value_reference"], rows["value"])
        parts.append(rows[[*ROW, "seeds"]].assign(key=key, value=value))
    return pd.concat([part for part in parts if len(part)] or [cells], ignore_index=True)


def _columns(
    spec: Spec, ours: pd.DataFrame, theirs: pd.DataFrame, declared: Declarations
) -> dict[str, Column]:
    """Return the columns of a table by key, including those without numbers."""
    accuracy = ours[ours["measure"] == declared.first("zeroshot")]
    outputs = ours[ours["measure"].isin(declared.of_kind(*ALL_SHOWN))]
    columns: dict[str, Column] = {}
    for key in spec.columns:
        if key == PER_TASK:
            columns |= _task_columns(accuracy, theirs)
        elif key == OUTPUTS:
            columns |= _output_columns(outputs, theirs)
        else:
            columns[key] = PAPERS_COLUMNS[key]
    return columns


def _task_columns(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Column]:
    rows = pd.concat([theirs, ours])[["task", "metric"]]
    rows = rows[(rows["task"] != "") & (rows["metric"] != AVERAGE)]
    crows = set(rows.loc[rows["metric"] == CROWS, "task"])
    return {
        name: Column(task.short, penalty=near_half if name in crows else high, with_spread=False)
        for name, task in tasks_in_order(rows["task"]).items()
    }


def _output_columns(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Column]:
    rows = pd.concat([theirs, ours])[["key", "metric"]].drop_duplicates()
    kinds = [*OUTPUT]
    rows["kind"] = rows["metric"].str.replace(r"^top\d+_", "", regex=True)
    rows = rows[rows["kind"].isin(kinds)].sort_values(
        ["kind", "key"], key=lambda part: part.map(kinds.index) if part.name == "kind" else part
    )
    return {
        row.key: Column(
            metric_label(row.metric) + row.key.removeprefix(row.metric),
            *OUTPUT[row.kind],
            logarithmic=row.kind == "perplexity",
        )
        for row in rows.itertuples()
    }
