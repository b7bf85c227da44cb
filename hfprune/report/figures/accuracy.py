"""Average zero-shot accuracy against the share of parameters removed, or by method where all have one share,
with 95 % intervals; hollow points are published. In facets of recovered models the dense model is recovered
too.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.averages import AVERAGE, MEAN, primary_values
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.values import all_values, scaled


class Accuracy(FigurePublication):
    """One panel per model and recovery."""

    order = 1
    shows = "zeroshot"
    empty = "Zero-shot accuracy: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        scores = all_values(data.levels, data.declared, [data.declared.first("zeroshot")])
        ours = scaled(scores[scores["task"] == MEAN]).assign(source="ours")
        same = data.published.merge(ours[["model", "recovery", "ratio"]].drop_duplicates())
        printed = same[same["task"] == AVERAGE].assign(source="published")
        return pd.concat([ours, printed], ignore_index=True) if len(ours) else ours

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        ours, printed = (values[values["source"] == source] for source in ("ours", "published"))
        zeroshot = data.declared.first("zeroshot")
        count = primary_values(data.levels, zeroshot)["task"].nunique()
        label = {(zeroshot, ours["metric"].iloc[0], MEAN): f"Average of {count} task{'s' * (count > 1)} (%)"}
        rows = charts.outcomes(ours, label, data.looks, data.declared, printed)
        bars = charts.meaning(ours)
        if bars and (ours["seeds"] == 1).all():
            bars += ", too few to compare methods"
        hollow: dict[str, Any] = {"color": GREY, "linestyle": "", "marker": "o", "markerfacecolor": "white"}
        entries = [Line2D([], [], label="Published, 10 tasks", **hollow)] if len(printed) else []
        return sheet(rows, bars, 4.6, 2.1, entries)
