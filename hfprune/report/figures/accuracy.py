"""Average zero-shot accuracy against the share of parameters removed, or by method at a single share, with 95 %
intervals; crosses are published. Grey lines are answers given without reading the questions: a guess, and in
BoolQ the commoner answer. The dense model has the recovery of the pruned models beside it.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.report import charts
from hfprune.report.drawing.marks import GREY, mark
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.report.unread import GUESS, LOOKS, unread
from hfprune.report.values import all_values, scaled
from hfprune.results.averages import AVERAGE, MEAN, primary_values
from hfprune.results.reader import Results


class Accuracy(FigurePublication):
    """Averages over tasks, ours and published, in a panel per model and recovery."""

    order = 1
    shows = "zeroshot"
    empty = "Zero-shot accuracy: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        scores = all_values(data.levels, data.declared, [data.declared.first("zeroshot")])
        scores = scores[scores["metric"] == AVERAGE]
        ours = scaled(scores[scores["task"] == MEAN]).assign(source="ours")
        same = data.published.merge(ours[["model", "recovery", "ratio"]].drop_duplicates())
        printed = same[same["task"] == AVERAGE].assign(source="published")
        lines = unread(data, data.answers, {}).query("key == @AVERAGE").assign(source=GUESS)
        return pd.concat([ours, printed, lines], ignore_index=True) if len(ours) else ours

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        by_source = dict([*values.groupby("source")])
        ours, printed = by_source["ours"], by_source.get("published", values[:0])
        lines = by_source.get(GUESS, values[:0])
        zeroshot = data.declared.first("zeroshot")
        count = primary_values(data.levels, zeroshot)["task"].nunique()
        label = {(zeroshot, ours["metric"].iloc[0], MEAN): f"Average of {count} task{'s' * (count > 1)} (%)"}
        outcomes = charts.outcomes(ours, label, looks_of(data), data.declared, printed)
        rows = [(name, [_with_lines(cell, lines) for cell in cells]) for name, cells in outcomes]
        bars = charts.meaning(ours)
        if bars and (ours["draws"] == 1).all():
            bars += ", too few to compare methods"
        cross = mark(Look("Published, 10 tasks", GREY, "x"), published=True)
        entries = [Line2D([], [], label="Published, 10 tasks", **cross)] if len(printed) else []
        return sheet(rows, bars, 4.6, 2.1, entries)


def _with_lines(chart: charts.Chart | str, lines: pd.DataFrame) -> charts.Chart | str:
    if isinstance(chart, str) or lines.empty:
        return chart
    own = lines[lines["model"].isin(chart.rows["model"])].rename(columns={"method": "group"})
    ends = [*(chart.ends or ()), *(own["value"] - 1), *(own["value"] + 1)]
    rows = pd.concat([chart.rows, own.assign(published=False)], ignore_index=True)
    return replace(chart, rows=rows, looks={**chart.looks, **LOOKS}, ends=(min(ends), max(ends)))
