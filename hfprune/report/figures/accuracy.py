"""Average zero-shot accuracy against the share of parameters removed, or by method where all have one share,
with 95 % intervals; hollow points are published. Grey is the average of guesses, and of each task's majority
answer, a guess where items do not number answers. In facets of recovered models the dense model is recovered
too.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.averages import AVERAGE, MEAN, primary_values
from hfprune.analysis.tidy import ITEMS
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.figures.answers import RIGHT, Answers
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look, tasks_in_order
from hfprune.report.values import all_values, scaled

GUESS = "guess"
LOOKS = {GUESS: Look("Guess", GREY, "", "-"), RIGHT: Look("Majority answer", GREY, "", "-.")}


class Accuracy(FigurePublication):
    order = 1
    shows = "zeroshot"
    empty = "Zero-shot accuracy: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        scores = all_values(data.levels, data.declared, [data.declared.first("zeroshot")])
        ours = scaled(scores[scores["task"] == MEAN]).assign(source="ours")
        same = data.published.merge(ours[["model", "recovery", "ratio"]].drop_duplicates())
        printed = same[same["task"] == AVERAGE].assign(source="published")
        return pd.concat([ours, printed, _guesses(data)], ignore_index=True) if len(ours) else ours

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        by_source = dict([*values.groupby("source")])
        ours, printed = by_source["ours"], by_source.get("published", values[:0])
        lines = by_source.get(GUESS, values[:0])
        zeroshot = data.declared.first("zeroshot")
        count = primary_values(data.levels, zeroshot)["task"].nunique()
        label = {(zeroshot, ours["metric"].iloc[0], MEAN): f"Average of {count} task{'s' * (count > 1)} (%)"}
        rows = []
        for name, cells in charts.outcomes(ours, label, data.looks, data.declared, printed):
            rows.append((name, [_with_lines(cell, lines) for cell in cells]))
        bars = charts.meaning(ours)
        if bars and (ours["seeds"] == 1).all():
            bars += ", too few to compare methods"
        hollow: dict[str, Any] = {"color": GREY, "linestyle": "", "marker": "o", "markerfacecolor": "white"}
        entries = [Line2D([], [], label="Published, 10 tasks", **hollow)] if len(printed) else []
        return sheet(rows, bars, 4.6, 2.1, entries)


def _guesses(data: Collected) -> pd.DataFrame:
    """Return each model's averages, in percent, without reading the questions, if all tasks can be guessed."""
    tasks = tasks_in_order(primary_values(data.levels, data.declared.first("zeroshot"))["task"])
    chance = 100 * pd.Series({name: task.chance for name, task in tasks.items()}, dtype=float)
    shares = Answers().values(data) if (data.folder / ITEMS).exists() else pd.DataFrame()
    found = [] if chance.isna().any() else [(model, GUESS, chance) for model in {*data.levels["model"]}]
    if found and len(shares):
        right = shares[shares["method"] == RIGHT].groupby(["model", "task"])["share"].mean().unstack()
        found += [(model, RIGHT, row.reindex(chance.index).fillna(chance)) for model, row in right.iterrows()]
    rows = sorted((model, name, numbers.mean(), GUESS) for model, name, numbers in found)
    return pd.DataFrame(rows, columns=["model", "method", "value", "source"])


def _with_lines(chart: charts.Chart | str, lines: pd.DataFrame) -> charts.Chart | str:
    if isinstance(chart, str) or lines.empty:
        return chart
    own = lines[lines["model"].isin(chart.rows["model"])].rename(columns={"method": "group"})
    known = [*(chart.ends or ()), *(own["value"] - 1), *(own["value"] + 1)]
    rows = pd.concat([chart.rows, own.assign(hollow=False)], ignore_index=True)
    return replace(chart, rows=rows, looks={**chart.looks, **LOOKS}, ends=(min(known), max(known)))
