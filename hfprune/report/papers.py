"""The paper's tables, our rows beside the published ones; each of the eight is a declaration in its own file."""

from dataclasses import replace
from typing import ClassVar

import pandas as pd

from hfprune.analysis.declarations import ALL_SHOWN, Declarations
from hfprune.paper.claims import Paper
from hfprune.paper.tables import AVERAGE, AVERAGE_WITHOUT_CROWS, CROWS
from hfprune.report import notes
from hfprune.report.cells import OURS, PAPER, head_columns, in_order, present
from hfprune.report.collected import Collected
from hfprune.report.ours import in_papers_units, with_following
from hfprune.report.publication import TablePublication
from hfprune.report.rows import ORDER, Form, footnotes_of, lay_out, with_blanks
from hfprune.report.style import looks, metric_label, tasks_in_order
from hfprune.report.typeset import Column, Table
from hfprune.results import DENSE

FORMS = {
    AVERAGE: Form("Average", better="higher"),
    AVERAGE_WITHOUT_CROWS: Form("w/o Crows", better="higher"),
    "parameters": Form("Params (B)", "{:.3g}", with_spread=False),
    "prefill_latency": Form("Prefill (ms)"),
    "prefill_speedup": Form("Speed-up", "{:.2f}"),
    "decode_throughput": Form("Decode (tok/s)"),
    "decode_gain": Form("Gain (%)"),
    "prefill_flops": Form("TFLOPs", "{:.3g}", with_spread=False),
    "flops_saved": Form("Saved (%)", with_spread=False),
    "seconds": Form("Time (s)"),
    "seconds_to_entropy": Form("Time / Entropy", "{:.2f}", with_spread=False),
    "peak_memory": Form("Peak memory (GB)", "{:.2f}"),
    "memory_to_entropy": Form("Memory / Entropy", "{:.2f}", with_spread=False),
    "sequences": Form("Sequences", "{:,.0f}", with_spread=False),
    "agreement": Form("Agreement", "{:.3f}", with_spread=False),
}
# Metric of the outputs without its top<k>_ → its format, in the order of the columns; the heading is the metric's.
OUTPUT_FORMS = {
    "js_distance": Form("", "{:.3f}", "lower"),
    "jaccard": Form("", "{:.3f}", "higher"),
    "kl_divergence": Form("", "{:.3f}", "lower"),
    "perplexity": Form("", "{:,.2f}", "lower"),
}
# Stand for a column per task, and per metric and corpus of the outputs.
PER_TASK, OUTPUTS = "tasks", "outputs"
ACCURACY = (PER_TASK, AVERAGE, AVERAGE_WITHOUT_CROWS)
WITH_RECOVERY = f"recovery != 'none' or method == '{DENSE}'"


class PaperTable(TablePublication):
    """A table of the paper; its number is its `order`."""

    keys: ClassVar[tuple[str, ...]]
    """Of its columns: of `FORMS`, `PER_TASK` or `OUTPUTS`; columns without a number are left out."""
    ours: ClassVar[str] = ""
    """Condition on our rows, as `DataFrame.query` takes it."""
    own_models: ClassVar[bool] = False
    """Whether a model of the paper appears only if the published table has it."""
    of_scoring: ClassVar[bool] = False
    """Whether its numbers come before any cut, so that no cell can be not applicable."""
    without: ClassVar[tuple[str, ...]] = ()
    """Tasks that neither appear nor count in the average."""
    notes: ClassVar[tuple[str, ...]] = ()

    def make(self, data: Collected) -> Table:
        published, declared = data.printed, data.declared
        theirs = published.numbers[published.numbers["table"] == self.order]
        theirs = theirs.assign(key=theirs["column"], source=PAPER).drop(columns="label")
        ours = self._ours(data, set(theirs["model"]))
        forms = self._forms(ours, theirs, declared)
        blanks = data.blanks[: 0 if self.of_scoring else None]
        ours = with_blanks(ours, self._chosen(blanks, published, {*theirs["model"]}), forms)
        cells = with_following(pd.concat([theirs, ours], ignore_index=True))
        cells = cells[cells["key"].isin(forms)]
        named = looks(cells["method"], data.labels)
        cells = in_order(cells, ORDER, named, [*published.models.values()])
        footnotes, measured = footnotes_of(cells), {*cells["key"]}
        numbers, laid = lay_out(cells, {key: forms[key] for key in forms if key in measured}, footnotes)
        source = Column("Source", numbers["source"].tolist(), words=True)
        columns = present([*head_columns(numbers, named), source, *laid])
        outputs = ours[ours["measure"].isin(declared.of_kind(*ALL_SHOWN)) & ours["key"].isin(forms)]
        averages = notes.averages(ours, theirs, published, declared.first("zeroshot"))
        below = [
            *notes.source_notes(columns, cells, published.models),
            *(averages if AVERAGE in forms else []),
            *notes.corpora(outputs),
            *self.notes,
            *(f"{sign} {confidence}." for confidence, sign in footnotes.items()),
            *(f"{anomaly}: {claim}" for anomaly, claim in published.about(self.order).items()),
        ]
        return Table(numbers, columns, below)

    def _ours(self, data: Collected, in_table: set[str]) -> pd.DataFrame:
        values = in_papers_units(data.levels, data.declared, self.without)
        return self._chosen(values, data.printed, in_table).assign(source=OURS)

    def _chosen(self, rows: pd.DataFrame, published: Paper, in_table: set[str]) -> pd.DataFrame:
        rows = rows.assign(model=published.model(rows["model"]))
        if self.own_models:
            rows = rows[rows["model"].isin(in_table | {*rows["model"]} - {*published.models.values()})]
        return rows.query(self.ours) if self.ours else rows

    def _forms(self, ours: pd.DataFrame, theirs: pd.DataFrame, declared: Declarations) -> dict[str, Form]:
        forms: dict[str, Form] = {}
        for key in self.keys:
            if key == PER_TASK:
                forms |= _task_forms(pd.concat([theirs, ours[ours["measure"] == declared.first("zeroshot")]]))
            elif key == OUTPUTS:
                outputs = ours[ours["measure"].isin(declared.of_kind(*ALL_SHOWN))]
                forms |= _output_forms(pd.concat([theirs, outputs]))
            else:
                forms[key] = FORMS[key]
        return forms


def _task_forms(rows: pd.DataFrame) -> dict[str, Form]:
    rows = rows[(rows["task"] != "") & (rows["metric"] != AVERAGE)]
    crows = set(rows.loc[rows["metric"] == CROWS, "task"])
    return {
        name: Form(task.short, better="half" if name in crows else "higher", with_spread=False)
        for name, task in tasks_in_order(rows["task"]).items()
    }


def _output_forms(rows: pd.DataFrame) -> dict[str, Form]:
    rows = rows[["key", "metric"]].drop_duplicates()
    kinds = [*OUTPUT_FORMS]
    rows["kind"] = rows["metric"].str.replace(r"^top\d+_", "", regex=True)
    rows = rows[rows["kind"].isin(kinds)].sort_values(
        ["kind", "key"], key=lambda part: part.map(kinds.index) if part.name == "kind" else part
    )
    return {
        row.key: replace(
            OUTPUT_FORMS[row.kind], heading=metric_label(row.metric) + row.key.removeprefix(row.metric)
        )
        for row in rows.itertuples()
    }
