"""The paper's eight tables, ours beside the published, as CSV, Markdown and LaTeX."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hfprune import layout
from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    CROWS,
    over_seeds,
    spread,
    with_averages,
)
from hfprune.analysis.calibration import calibration_table
from hfprune.analysis.collect import CALIBRATION, CELL, read_collected
from hfprune.analysis.published import CONFIDENT, NOT_AVERAGED, Published, read_published
from hfprune.analysis.style import looks, method_label, metric_label, tasks_in_order
from hfprune.analysis.typeset import MISSING, Table, csv, latex, mark, markdown, write_texts
from hfprune.results import DENSE

OURS, PAPER = "ours", "paper"
ROW = ["model", "method", "ratio", "recovery", "source"]  # what tells the rows of a table apart
# What ± means → the spreads that follow a number, and how.
SPREADS = {"stderr": {"stderr": " ± {}"}, "sd": {"sd": " ± {}", "stderr": " ({})"}}
GROUP = ["model", "ratio", "recovery", "source"]  # whose best is marked

# Measure and metric of the tidy table → the paper's metric, and what to multiply ours by and then to add.
UNITS = {
    ("size", "parameters"): ("parameters", 1e-9, 0),
    ("latency", "prefill_seconds"): ("prefill_latency", 1e3, 0),
    ("latency", "prefill_speedup"): ("prefill_speedup", 1, 0),
    ("latency", "decode_tokens_per_second"): ("decode_throughput", 1, 0),
    ("latency", "decode_speedup"): ("decode_gain", 100, -100),
    ("latency", "flops"): ("prefill_flops", 1e-12, 0),
    ("cost", "seconds"): ("seconds", 1, 0),
    ("cost", "peak_memory_bytes"): ("peak_memory", 1e-9, 0),
    ("cost", "sequences"): ("sequences", 1, 0),
    ("cost", "agreement"): ("agreement", 1, 0),
}
# What follows from another metric of a row and of the row with the reference method.
FOLLOWING: dict[str, tuple[str, str, Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "flops_saved": ("prefill_flops", DENSE, lambda dense, pruned: 100 * (1 - pruned / dense)),
    "seconds_to_entropy": ("seconds", "entropy", lambda entropy, other: other / entropy),
    "memory_to_entropy": ("peak_memory", "entropy", lambda entropy, other: other / entropy),
}


def _low(values: pd.Series) -> pd.Series:
    return values


def _high(values: pd.Series) -> pd.Series:
    return -values


def _near_half(values: pd.Series) -> pd.Series:
    return (values - 50).abs()


@dataclass(frozen=True)
class Column:
    """A column of numbers: its heading, and how a number is shown.

    The pruned method with the smallest `penalty` is the best of its group; without a penalty none is.
    """

    heading: str
    shown: str = "{:.1f}"
    penalty: Callable[[pd.Series], pd.Series] | None = None
    with_spread: bool = True


COLUMNS = {
    AVERAGE: Column("Average", penalty=_high),
    AVERAGE_WITHOUT_CROWS: Column("w/o Crows", penalty=_high),
    "parameters": Column("Params (B)", "{:.3g}", with_spread=False),
    "prefill_latency": Column("Prefill (ms)"),
    "prefill_speedup": Column("Speed-up", "{:.2f}"),
    "decode_throughput": Column("Decode (tok/s)"),
    "decode_gain": Column("Gain (%)"),
    "prefill_flops": Column("TFLOPs", "{:.3g}", with_spread=False),
    "flops_saved": Column("Saved (%)", with_spread=False),
    "seconds": Column("Time (s)"),
    "seconds_to_entropy": Column("Time / Entropy", "{:.2f}", with_spread=False),
    "peak_memory": Column("Peak memory (GB)", "{:.2f}"),
    "memory_to_entropy": Column("Memory / Entropy", "{:.2f}", with_spread=False),
    "sequences": Column("Sequences", "{:,.0f}", with_spread=False),
    "agreement": Column("Agreement", "{:.3f}", with_spread=False),
}
OUTPUT = {  # metric of the outputs without its top<k>_ → how it is shown and judged, in the order of the columns
    "js_distance": ("{:.3f}", _low),
    "jaccard": ("{:.3f}", _high),
    "kl_divergence": ("{:.3f}", _low),
    "perplexity": ("{:,.2f}", _low),
}
TASKS, OUTPUTS = "tasks", "outputs"  # stand for a column per task, and per metric and corpus of the outputs


@dataclass(frozen=True)
class Spec:
    """A table of the paper: its columns, and which of our rows belong into it."""

    caption: str
    columns: tuple[str, ...]
    """Keys of `COLUMNS`, `TASKS` or `OUTPUTS`; those without a number are left out."""
    ours: str = ""
    """Condition on our rows, as `DataFrame.query` takes it."""
    own_models: bool = False
    """Whether a model that is the paper's appears only if the published table has it."""
    without: tuple[str, ...] = ()
    """Tasks that neither appear nor count in the average."""
    notes: tuple[str, ...] = ()


ACCURACY = (TASKS, AVERAGE, AVERAGE_WITHOUT_CROWS)
INFERENCE = (
    *("parameters", AVERAGE, "prefill_latency", "prefill_speedup"),
    *("decode_throughput", "decode_gain", "prefill_flops", "flops_saved"),
)
SCORING = (
    *("seconds", "seconds_to_entropy", "peak_memory", "memory_to_entropy"),
    *("sequences", "agreement"),
)
RECOVERED = f"recovery != 'none' or method == '{DENSE}'"
SPECS = dict(
    zip(
        layout.PAPER_TABLES,
        (
            Spec(
                "Zero-shot accuracy (%) of LLaMA-2-7B after recovery.", ACCURACY, RECOVERED, own_models=True
            ),
            Spec(
                "Parameters and average accuracy (%) of LLaMA-3.2 after recovery.",
                ("parameters", AVERAGE, AVERAGE_WITHOUT_CROWS),
                RECOVERED,
                own_models=True,
            ),
            Spec("Zero-shot accuracy (%) of Qwen after recovery.", ACCURACY, RECOVERED, own_models=True),
            Spec(
                "Inference: latency of prefill, throughput of decoding, and FLOPs.",
                INFERENCE,
                notes=("Speed-up, gain and FLOPs saved: against the dense model; ours took turns with it.",),
            ),
            Spec(
                "Cost of scoring the neurons.",
                SCORING,
                notes=(
                    "Multiples of entropy's cost follow from the numbers beside them, in the paper's rows too.",
                    "GB: a billion bytes in ours; the paper does not say.",
                    "Scores are computed once and serve every ratio.",
                    "Agreement: share of neurons kept by both halves of the calibration, cut to half the width.",
                ),
            ),
            Spec("Zero-shot accuracy (%) without recovery, by criterion.", ACCURACY, "recovery == 'none'"),
            Spec("Distance of the pruned models' outputs to the dense model's.", (OUTPUTS,)),
            Spec(
                "MLP only against attention and MLP at equal total parameters: zero-shot accuracy (%).",
                ACCURACY,
                f"method in ['{DENSE}', 'entropy', 'entropy_attention']",
                without=NOT_AVERAGED[8],
                notes=("TruthfulQA is left out of the averages, as in the paper's table.",),
            ),
        ),
        strict=True,
    )
)


def write_tables(results: Path, paper: Path, out: Path) -> None:
    """Write every table of `SPECS`, and that of calibration, as `<name>.csv`, `.md` and `.tex`.

    There is one row per model, method, ratio, recovery and source (`paper` or `ours`). The CSV has the bare
    numbers, accuracies in percent and ratios as fractions; the others `value ± spread`.

    Args:
        results: the `results.parquet` of `hfprune.analysis.collect.collect`, with its companions beside it.
        paper: folder of the published tables.
        out: folder, created where missing.

    Raises:
        HfpruneError: `results` or a published table is missing or broken, or a task has no metric that the paper's
            rule knows.
    """
    tidy, published = read_collected(results), read_published(paper)
    for number, (name, spec) in enumerate(SPECS.items(), 1):
        table = make_table(number, spec, tidy, published)
        _write(out, name, table)
    _write(out, "calibration", calibration_table(tidy, read_collected(results.parent / CALIBRATION)))


def _write(out: Path, name: str, table: Table) -> None:
    write_texts(out, name, {"csv": csv(table), "md": markdown(table), "tex": latex(table, name)})


def make_table(number: int, spec: Spec, tidy: pd.DataFrame, published: Published) -> Table:
    """Make the paper's table of this number from the tidy table and the published numbers."""
    theirs = published.numbers[published.numbers["table"] == number]
    theirs = theirs.assign(key=theirs["column"], source=PAPER).drop(columns="label")
    ours = _ours(spec, tidy, published, set(theirs["model"]))
    columns = _columns(spec, ours, theirs)
    cells = _following(pd.concat([theirs, ours], ignore_index=True))
    cells = _in_order(cells[cells["key"].isin(columns)], published)
    present = set(cells["key"])
    columns = {key: column for key, column in columns.items() if key in present}
    footnotes = _footnotes(cells)
    numbers, shown, groups = _lay_out(cells, columns, SPREADS[spread(ours)], footnotes)
    notes = [
        *_legend(shown, cells, published.names),
        *(_averages(ours, theirs, published) if AVERAGE in columns else []),
        *_corpora(ours, columns),
        *spec.notes,
        *(f"{sign} {confidence}." for confidence, sign in footnotes.items()),
        *(f"{anomaly}: {claim}" for anomaly, claim in published.about(number).items()),
    ]
    caption = f"{spec.caption} The paper's Table {number} beside ours."
    return Table(caption, numbers, shown, groups, notes, numbers["model"])


def _ours(spec: Spec, tidy: pd.DataFrame, published: Published, in_table: set[str]) -> pd.DataFrame:
    """Return our numbers for a table, one a row over seeds, with the `key` of their column."""
    values = over_seeds(_measured(tidy[~tidy["task"].isin(spec.without)]))
    values["model"] = published.model(values["model"])
    if spec.own_models:
        values = values[values["model"].isin(in_table | {*values["model"]} - {*published.names.values()})]
    if spec.ours:
        values = values.query(spec.ours)
    return values.assign(source=OURS)


def _measured(tidy: pd.DataFrame) -> pd.DataFrame:
    """Return tidy rows in the paper's units, each with the `key` of its column."""
    accuracy = with_averages(tidy)
    if CROWS not in set(accuracy["metric"]):
        accuracy = accuracy[accuracy["task"] != AVERAGE_WITHOUT_CROWS]
    accuracy = accuracy.assign(key=accuracy["task"], scale=100.0, shift=0.0)

    outputs = tidy[tidy["measure"].isin(["fidelity", "perplexity"])]
    corpora = Counter(metric for metric, _ in {*zip(outputs["metric"], outputs["task"], strict=True)})
    # A corpus is named only where there are several to tell apart.
    suffix = (" " + outputs["task"]).where(outputs["metric"].map(corpora) > 1, "")
    outputs = outputs.assign(key=outputs["metric"] + suffix, scale=1.0, shift=0.0)

    others = pd.concat([tidy[tidy["measure"] != "size"], _sizes(tidy)])
    units = [UNITS.get(pair, (None, 1, 0)) for pair in zip(others["measure"], others["metric"], strict=True)]
    others[["key", "scale", "shift"]] = pd.DataFrame(units, others.index, ["key", "scale", "shift"])

    parts = [part for part in (accuracy, outputs, others.dropna(subset="key")) if len(part)]
    rows = pd.concat(parts or [others], ignore_index=True)
    scale, shift = rows.pop("scale").astype(float), rows.pop("shift").astype(float)
    rows["value"] = rows["value"] * scale + shift
    rows["stderr"] *= scale
    return rows


def _sizes(tidy: pd.DataFrame) -> pd.DataFrame:
    """Return the number of parameters of every cell.

    A plan gives that of its cells, whatever their recovery, and that of the dense model.
    """
    by = [part for part in CELL if part != "recovery"]
    plans = tidy[tidy["measure"] == "size"].pivot_table("value", by, "metric")
    plans = plans.reindex(columns=["parameters", "parameter_ratio"])
    whole = (plans["parameters"] / (1 - plans["parameter_ratio"])).round().groupby("model").first()
    cells = tidy.loc[tidy["ratio"].notna(), CELL].drop_duplicates()
    pruned = cells.merge(plans.reset_index(), "left", by)["parameters"].set_axis(cells.index)
    value = pruned.where(cells["method"] != DENSE, cells["model"].map(whole))
    return cells.assign(measure="size", task="", metric="parameters", value=value).dropna(subset="value")


def _following(cells: pd.DataFrame) -> pd.DataFrame:
    """Add the metrics that follow from others, but to published rows only those that the paper prints nowhere."""
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


def _columns(spec: Spec, ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Column]:
    """Return the columns of a table by key, those without numbers too."""
    columns: dict[str, Column] = {}
    for key in spec.columns:
        if key == TASKS:
            columns |= _task_columns(ours, theirs)
        elif key == OUTPUTS:
            columns |= _output_columns(ours, theirs)
        else:
            columns[key] = COLUMNS[key]
    return columns


def _task_columns(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, Column]:
    rows = pd.concat(
        [theirs[["task", "metric"]], ours.loc[ours["measure"] == "zeroshot", ["task", "metric"]]]
    )
    rows = rows[(rows["task"] != "") & (rows["metric"] != AVERAGE)]
    crows = set(rows.loc[rows["metric"] == CROWS, "task"])
    return {
        name: Column(task.short, penalty=_near_half if name in crows else _high, with_spread=False)
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
        row.key: Column(metric_label(row.metric) + row.key.removeprefix(row.metric), *OUTPUT[row.kind])
        for row in rows.itertuples()
    }


def _in_order(cells: pd.DataFrame, published: Published) -> pd.DataFrame:
    """Sort by model (the paper's first), ratio, recovery (none first), method and source, and number the rows."""
    models = {name: i for i, name in enumerate(published.names.values())}
    ranks = {
        "model": lambda names: names.map(lambda name: (models.get(name, len(models)), name)),
        "recovery": lambda names: names.map(lambda name: (name != "none", name)),
        "method": lambda names: names.map([*looks(names)].index),
        "source": lambda names: names.map([PAPER, OURS].index),
    }
    cells = cells.sort_values(
        ["model", "ratio", "recovery", "method", "source"],
        key=lambda part: ranks[part.name](part) if part.name in ranks else part,
    )
    return cells.assign(row=cells.groupby(ROW, dropna=False, sort=False).ngroup())


def _lay_out(
    cells: pd.DataFrame, columns: dict[str, Column], spreads: dict[str, str], footnotes: dict[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return numbers, what is shown, and groups of rows, from cells with the `row` and `key` of their place."""
    rows = cells.drop_duplicates("row").set_index("row")[ROW]
    parts = cells.set_index(["row", "key"])[["value", "printed", "confidence", *spreads]].unstack()
    numbers, shown = rows.copy(), _row_heads(rows)
    for key, column in columns.items():
        cell = parts.xs(key, axis=1, level="key")
        numbers[key] = cell["value"]
        for width in spreads:
            if cell[width].notna().any():
                numbers[f"{key}_{width}"] = cell[width]
        best = _best(cell, column, rows)
        shown[column.heading] = [
            _cell(column, spreads, footnotes, *line)
            for line in zip(cell.to_dict("records"), best, strict=True)
        ]
    doubted = cells[cells["confidence"].isin(footnotes)]
    doubts = (doubted["key"] + ": " + doubted["confidence"]).groupby(doubted["row"]).agg("; ".join)
    numbers["doubts"] = doubts.reindex(numbers.index).fillna("")
    return numbers, shown, rows.groupby(["model", "ratio"], dropna=False, sort=False).ngroup()


def _row_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the left columns as shown."""
    names = looks(rows["method"])
    shown = pd.DataFrame(index=rows.index)
    if rows["ratio"].notna().any():
        shown["Ratio"] = [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]]
    shown["Method"] = [
        method_label(names[method], recovery)
        for method, recovery in zip(rows["method"], rows["recovery"], strict=True)
    ]
    shown["Source"] = rows["source"]
    return shown


def _best(cell: pd.DataFrame, column: Column, rows: pd.DataFrame) -> pd.Series:
    """Mark the best of at least two pruned methods in each group, and those level with it; never a suspect."""
    if column.penalty is None:
        return pd.Series(False, cell.index)
    suspect = cell["confidence"].str.startswith("suspect").fillna(False).astype(bool)
    penalty = column.penalty(cell["value"].where((rows["method"] != DENSE) & ~suspect))
    in_group = penalty.groupby([rows[part] for part in GROUP], dropna=False)
    return pd.Series(np.isclose(penalty, in_group.transform("min"))).set_axis(cell.index) & (
        in_group.transform("count") > 1
    )


def _cell(
    column: Column, spreads: dict[str, str], footnotes: dict[str, str], cell: dict[str, Any], best: bool
) -> str:
    if pd.isna(cell["value"]):
        return MISSING
    text = column.shown.format(cell["value"]) if pd.isna(cell["printed"]) else cell["printed"]
    for width, sign in spreads.items() if column.with_spread else ():
        if not pd.isna(cell[width]):
            text += sign.format(column.shown.format(cell[width]))
    return (f"**{text}**" if best else text) + footnotes.get(cell["confidence"], "")


def _footnotes(cells: pd.DataFrame) -> dict[str, str]:
    """Return what is said against published numbers, e.g. `suspect: A07`, and the mark of each."""
    confidences = cells.loc[cells["source"] == PAPER, "confidence"].dropna().drop_duplicates()
    doubts = confidences[confidences != CONFIDENT]
    return {confidence: mark(i) for i, confidence in enumerate(doubts)}


def _legend(shown: pd.DataFrame, cells: pd.DataFrame, names: dict[str, str]) -> list[str]:
    """Say what the sources and marks are."""
    ours = cells[cells["source"] == OURS]
    legend = ["Source: paper, as printed there; ours, measured in this study. Never mixed."]
    present = set(ours["model"])
    legend += [f"{model} is {name} in this study." for name, model in names.items() if model in present]
    if ours.empty:
        legend.append("Ours: not measured.")
    elif set(ours["method"]) == {DENSE}:
        legend.append("Ours: no pruned model under the conditions of this table was measured.")
    text = " ".join(shown.to_numpy().ravel())
    if "±" in text:
        seeds = ours.loc[ours["seeds"] > 1, "seeds"].astype(int)
        over = (
            f"standard deviation over {_range(seeds)} seeds, and in brackets standard error over items"
            if len(seeds)
            else "standard error over items, one seed"
        )
        legend.append(f"±: {over}; of single tasks in the CSV.")
    if "**" in text:
        legend.append("Bold: best pruned method of its source at its ratio, with the same recovery.")
    if MISSING in text:
        legend.append(f"{MISSING}: not printed in the paper, or not measured.")
    return legend


def _averages(ours: pd.DataFrame, theirs: pd.DataFrame, published: Published) -> list[str]:
    """Say over how many items and tasks the averages are."""
    notes = []
    scores = ours[(ours["measure"] == "zeroshot") & (ours["metric"] != AVERAGE)]
    if len(scores):
        notes.append(f"Items per task in ours: {_range(scores['n'])}.")
        # A table that prints no tasks averages those of the others.
        printed = next(tasks for tasks in map(_tasks, (theirs, published.numbers)) if tasks)
        if {*scores["task"]} != printed:
            notes.append(
                f"Averages are over other tasks, {scores['task'].nunique()} in ours and {len(printed)} in the "
                "paper's, and cannot be compared across sources."
            )
    if CROWS in {*ours["metric"], *theirs["metric"]}:
        notes.append(
            "Crows: share of stereotypes, ideally 50; Average counts it as an accuracy, as the paper does."
        )
    return notes


def _tasks(theirs: pd.DataFrame) -> set[str]:
    return {*theirs["task"]} - {"", AVERAGE}


def _corpora(ours: pd.DataFrame, columns: dict[str, Column]) -> list[str]:
    """Say on which corpora the outputs were compared."""
    texts = ours[ours["measure"].isin(["fidelity", "perplexity"]) & ours["key"].isin(columns)]
    return [
        f"{measure.capitalize()} on {corpus} in ours: n = {_range(n)}."
        for (measure, corpus), n in texts.groupby(["measure", "task"])["n"]
    ]


def _range(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    if pd.isna(low):
        return "unknown"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
