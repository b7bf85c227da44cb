"""The paper's tables, our rows beside the published ones; each of the eight is declared in its own file."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS, known_task, tasks_in_order
from hfprune.cells import DENSE
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.paper.relations import Paper
from hfprune.report import unread
from hfprune.report.cells import OURS, PAPER, head_columns, in_order, present
from hfprune.report.publication import TablePublication
from hfprune.report.rows import (
    ORDER,
    ROW,
    CellForm,
    averages,
    corpora,
    footnotes_of,
    lay_out,
    source_notes,
    with_blanks,
)
from hfprune.report.style import looks
from hfprune.report.typeset import Column, Table
from hfprune.results.averages import primary_values, without_tasks
from hfprune.results.declarations import ALL_SHOWN, Declarations
from hfprune.results.reader import Results

FORMS = {
    AVERAGE: CellForm("Average", better="higher"),
    AVERAGE_WITHOUT_CROWS: CellForm("w/o Crows", better="higher"),
    unread.WITHOUT_CONSTANT: CellForm("w/o constant", better="higher"),
    **{
        key: CellForm(f"{known_task(task).short} bal.", with_error=False)
        for task, key in unread.BALANCED.items()
    },
    "parameters": CellForm("Params (B)", "{:.3g}", with_error=False),
    "prefill_latency": CellForm("Prefill (ms)"),
    "prefill_speedup": CellForm("Speed-up", "{:.2f}"),
    "decode_throughput": CellForm("Decode (tok/s)"),
    "decode_gain": CellForm("Gain (%)"),
    "prefill_flops": CellForm("TFLOPs", "{:.3g}", with_error=False),
    "flops_saved": CellForm("Saved (%)", with_error=False),
    "seconds": CellForm("Time (s)"),
    "seconds_to_entropy": CellForm("Time / Entropy", "{:.2f}", with_error=False),
    "peak_memory": CellForm("Peak memory (GB)", "{:.2f}"),
    "memory_to_entropy": CellForm("Memory / Entropy", "{:.2f}", with_error=False),
    "sequences": CellForm("Sequences", "{:,.0f}", with_error=False),
    "agreement": CellForm("Agreement", "{:.3f}", with_error=False),
}
# Metric of the outputs without its top<k>_ → format, in the order of columns; the heading is the metric's label.
OUTPUT_FORMS = {
    "js_distance": CellForm("", "{:.3f}", "lower"),
    "jaccard": CellForm("", "{:.3f}", "higher"),
    "kl_divergence": CellForm("", "{:.3f}", "lower"),
    "perplexity": CellForm("", "{:,.2f}", "lower"),
}
# Placeholders for one column per task, and one per metric and corpus of the outputs.
PER_TASK, OUTPUTS = "tasks", "outputs"
AVERAGES = (AVERAGE, AVERAGE_WITHOUT_CROWS, unread.WITHOUT_CONSTANT)
ACCURACY = (PER_TASK, *unread.BALANCED.values(), *AVERAGES)
WITH_RECOVERY = f"recovery != 'none' or method == '{DENSE}'"
# Kind of measure and metric → the paper's metric, our scale, and the number to add after scaling.
PAPERS_UNITS = {
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
# Metrics that follow from another one of a row and of the row with the reference method.
FOLLOWING: dict[str, tuple[str, str, Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "flops_saved": ("prefill_flops", DENSE, lambda dense, pruned: 100 * (1 - pruned / dense)),
    "seconds_to_entropy": ("seconds", "entropy", lambda entropy, other: other / entropy),
    "memory_to_entropy": ("peak_memory", "entropy", lambda entropy, other: other / entropy),
}


class PaperTable(TablePublication):
    """A table of the paper; its number is its `order`."""

    keys: ClassVar[tuple[str, ...]]
    """Keys of its columns: of `FORMS`, `PER_TASK` or `OUTPUTS`; columns without a number are left out."""
    ours: ClassVar[str] = ""
    """Condition on our rows, as `DataFrame.query` takes it."""
    own_models: ClassVar[bool] = False
    """Whether a model of the paper appears only if the published table has it."""
    of_scoring: ClassVar[bool] = False
    """Whether its numbers come before any cut, so that no cell can be not applicable."""
    without: ClassVar[tuple[str, ...]] = ()
    """Tasks that neither appear nor count in the average."""
    notes: ClassVar[tuple[str, ...]] = ()

    def make(self, data: Results) -> Table:
        """Make the table of the published rows and ours, with notes on sources, errors and anomalies."""
        published, declared = data.printed, data.declared
        theirs = published.numbers[published.numbers["table"] == self.order]
        theirs = theirs.assign(key=theirs["column"], source=PAPER, calibrated="").drop(columns="label")
        ours, answer_notes = self._measured(data, {*theirs["model"]})
        forms = self._forms(ours, theirs, declared)
        blanks = data.blanks[: 0 if self.of_scoring else None]
        ours = with_blanks(ours, self._chosen(blanks, published, {*theirs["model"]}), forms)
        rows = pd.concat([theirs, ours], ignore_index=True).fillna({"calibrated": ""})
        cells = with_following(rows)
        cells = cells[cells["key"].isin(forms)]
        named = looks({*cells["method"]} - {*unread.LOOKS}, data.labels) | unread.LOOKS
        cells = in_order(cells, ORDER, named, [*published.models.values()])
        footnotes, measured = footnotes_of(cells), {*cells["key"]}
        numbers, laid = lay_out(cells, {key: forms[key] for key in forms if key in measured}, footnotes)
        source = Column("Source", numbers["source"].tolist(), words=True)
        columns = present([*head_columns(numbers, named), source, *laid])
        outputs = ours[ours["measure"].isin(declared.of_kind(*ALL_SHOWN)) & ours["key"].isin(forms)]
        average_notes = averages(ours, theirs, published, declared.first("zeroshot")) + answer_notes
        below = [
            *source_notes(columns, cells, published.models),
            *(average_notes if AVERAGE in forms else []),
            *corpora(outputs),
            *self.notes,
            *(f"{sign} {confidence}." for confidence, sign in footnotes.items()),
            *(f"{anomaly}: {claim}" for anomaly, claim in published.about(self.order).items()),
        ]
        return Table(numbers, columns, below)

    def _measured(self, data: Results, in_table: set[str]) -> tuple[pd.DataFrame, list[str]]:
        """Return our numbers by their keys, with those of answers without reading, and notes about the latter."""
        answers = data.answers[: None if unread.WITHOUT_CONSTANT in self.keys else 0]
        same = unread.constant(data, answers)
        means = unread.averages(data, same, self.without)
        ours = in_papers_units(pd.concat([data.levels, *means]), data.declared, self.without)
        ours = self._chosen(pd.concat([ours, unread.balanced(answers)]), data.printed, in_table)
        beside = unread.unread(data, answers, same, self.without)
        beside = beside[beside["model"].isin(answers["model"])]
        beside = beside.assign(model=data.printed.model(beside["model"]))
        ours = pd.concat([ours, beside[beside["model"].isin(ours["model"])]])
        names = data.printed.model(pd.Series([*same], dtype=str))
        shown = ours[ours["key"].isin(self.keys)]
        about = unread.notes(shown, dict(zip(names, same.values(), strict=True)))
        return ours.assign(source=OURS), about

    def _chosen(self, rows: pd.DataFrame, published: Paper, in_table: set[str]) -> pd.DataFrame:
        rows = rows.assign(model=published.model(rows["model"]))
        if self.own_models:
            rows = rows[rows["model"].isin(in_table | {*rows["model"]} - {*published.models.values()})]
        return rows.query(self.ours) if self.ours else rows

    def _forms(self, ours: pd.DataFrame, theirs: pd.DataFrame, declared: Declarations) -> dict[str, CellForm]:
        forms: dict[str, CellForm] = {}
        for key in self.keys:
            if key == PER_TASK:
                forms |= _task_forms(pd.concat([theirs, ours[ours["measure"] == declared.first("zeroshot")]]))
            elif key == OUTPUTS:
                outputs = ours[ours["measure"].isin(declared.of_kind(*ALL_SHOWN))]
                forms |= _output_forms(pd.concat([theirs, outputs]), declared)
            else:
                forms[key] = FORMS[key]
        return forms


def _task_forms(rows: pd.DataFrame) -> dict[str, CellForm]:
    rows = rows[(rows["task"] != "") & (rows["metric"] != AVERAGE)]
    crows = set(rows.loc[rows["metric"] == CROWS, "task"])
    return {
        name: CellForm(task.short, better="half" if name in crows else "higher", with_error=False)
        for name, task in tasks_in_order(rows["task"]).items()
    }


def _output_forms(rows: pd.DataFrame, declared: Declarations) -> dict[str, CellForm]:
    rows = rows[["key", "metric"]].drop_duplicates()
    kinds = [*OUTPUT_FORMS]
    rows["kind"] = rows["metric"].str.replace(r"^top\d+_", "", regex=True)
    rows = rows[rows["kind"].isin(kinds)].sort_values(
        ["kind", "key"], key=lambda part: part.map(kinds.index) if part.name == "kind" else part
    )
    return {
        row.key: replace(
            OUTPUT_FORMS[row.kind], heading=declared.label_of(row.metric) + row.key.removeprefix(row.metric)
        )
        for row in rows.itertuples()
    }


def in_papers_units(levels: pd.DataFrame, declared: Declarations, without: Collection[str]) -> pd.DataFrame:
    """Return levels in the paper's units, with averages over tasks, each with the `key` of its column."""
    measure = declared.first("zeroshot")
    scores = primary_values(levels, measure)
    left_out = [task for task in without if task in {*scores["task"]}]
    averages = {without_tasks(name, left_out): name for name in (AVERAGE, AVERAGE_WITHOUT_CROWS)}
    averages[unread.WITHOUT_CONSTANT] = unread.WITHOUT_CONSTANT
    means = levels[(levels["measure"] == measure) & levels["task"].isin(averages)]
    accuracy = pd.concat([scores[~scores["task"].isin(left_out)], means])
    accuracy = accuracy.assign(task=accuracy["task"].replace(averages))
    accuracy = accuracy.assign(key=accuracy["task"], scale=100.0, shift=0.0)

    outputs = levels[levels["measure"].isin(declared.of_kind(*ALL_SHOWN))]
    outputs = outputs.assign(key=outputs["metric"] + _suffix(outputs), scale=1.0, shift=0.0)

    others = levels[levels["measure"].isin(map(declared.first, ("latency", "cost")))]
    others = pd.concat([others, _sizes(levels)])
    pairs = zip(others["measure"].map(declared.kind), others["metric"], strict=True)
    units = [PAPERS_UNITS.get(pair, (None, 1, 0)) for pair in pairs]
    others[["key", "scale", "shift"]] = pd.DataFrame(units, others.index, ["key", "scale", "shift"])

    parts = [part for part in (accuracy, outputs, others.dropna(subset="key")) if len(part)]
    rows = pd.concat(parts or [others], ignore_index=True)
    scale, shift = rows.pop("scale").astype(float), rows.pop("shift").astype(float)
    for name in ("value", "low", "high"):
        rows[name] = rows[name] * scale + shift
    return rows.assign(stderr=rows["stderr"] * scale, sd=rows["sd"] * scale)


def _suffix(outputs: pd.DataFrame) -> pd.Series:
    places = outputs[["metric", "measure", "task"]].drop_duplicates()
    several = outputs["metric"].map(places.groupby("metric").size()) > 1
    shared = outputs["metric"].map(
        places.groupby("metric")["task"].agg(lambda tasks: tasks.duplicated().any())
    )
    names = outputs["task"].where(~shared.fillna(False).astype(bool), outputs["measure"])
    return (" " + names).where(several, "")


def _sizes(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the number of parameters of every cell.

    A plan gives the number for its cells with any recovery, and for the dense model.
    """
    by = ["study", "model", "calibration", "sequences", "calibrated", "method", "ratio"]
    plans = levels[levels["measure"] == "size"].pivot_table("value", by, "metric")
    plans = plans.reindex(columns=["parameters", "parameter_ratio"])
    whole = (plans["parameters"] / (1 - plans["parameter_ratio"])).round().groupby("model").first()
    cells = levels[levels["ratio"].notna()].groupby([*by, "recovery"], as_index=False)["draws"].max()
    pruned = cells.merge(plans.reset_index(), "left", by)["parameters"].set_axis(cells.index)
    value = pruned.where(cells["method"] != DENSE, cells["model"].map(whole))
    none = dict.fromkeys(("stderr", "sd", "low", "high"), np.nan)
    sizes = cells.assign(measure="size", task="", metric="parameters", value=value, **none)
    return sizes.dropna(subset="value")


def with_following(cells: pd.DataFrame) -> pd.DataFrame:
    """Add the metrics that follow from others; published rows get only those that the table does not print."""
    printed = set(cells.loc[cells["source"] == PAPER, "key"])
    parts = [cells]
    for key, (raw, method, formula) in FOLLOWING.items():
        rows = cells[(cells["key"] == raw) & ((cells["source"] == OURS) | (key not in printed))]
        reference = rows[(rows["method"] == method) & (rows["recovery"] == "none")]
        on = ["model", "source"] if method == DENSE else ["model", "source", "calibrated"]
        rows = rows.merge(reference[[*on, "value"]], on=on, suffixes=("", "_reference"))
        value = formula(rows["value_reference"], rows["value"])
        parts.append(rows[[*ROW, "draws"]].assign(key=key, value=value))
    return pd.concat([part for part in parts if len(part)] or [cells], ignore_index=True)
