"""The figure of all measures that no other figure shows, drawn from their declarations."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.averages import half_width, over_seeds
from hfprune.report.collected import Collected
from hfprune.report.figures import drawing
from hfprune.report.measures import MEAN, headings, other_values, scaled
from hfprune.report.style import COLUMN_WIDTH
from hfprune.results import DENSE

MOST_TASKS = 8  # for a measure with more tasks, their mean is drawn


def measures(data: Collected) -> Figure:
    """Draw the first metric of every measure that no table of the paper has, against the ratio.

    One panel per measure, or per task if it has at most `MOST_TASKS`, with 95 % intervals.
    """
    values = other_values(data.results, data.declared)
    places = [*zip(values["measure"], values["metric"], strict=True)]
    there = [
        (row.measure, row.metric.name) for row in data.declared if (row.measure, row.metric.name) in {*places}
    ]
    # The first declared metric that was measured: tasks differ in those that they have.
    primary = {*{measure: (measure, metric) for measure, metric in reversed(there)}.values()}
    values = values[np.array([place in primary for place in places], bool)].dropna(subset="ratio")
    values = scaled(values[_drawn(values)], data.declared)
    if not (values["method"] != DENSE).any():
        return drawing.not_measured("Other measures")
    values = over_seeds(values)
    values["half"] = half_width(values)
    names = headings(values, data.declared)
    facets = drawing.facets(values)
    panels = {
        (_heading(facet, name) if len(facets) > 1 else name): (part, place)
        for facet, part in facets.items()
        for place, name in names.items()
        if (_at(part, place)["method"] != DENSE).any()
    }
    single = drawing.of_one_ratio(values)
    most = max(_at(part, place)["method"].nunique() for part, place in panels.values())
    height = drawing.lines_height(most) if single else 1.9
    figure, axes = drawing.wrap([*panels], COLUMN_WIDTH, height, across=2 if single else 3)
    for ax, (name, (part, place)) in zip(axes, panels.items(), strict=True):
        shown = _at(part, place)
        logarithmic = drawing.spans_a_decade(shown)
        if single:
            order = drawing.best_first(shown, data.declared.find(*place[:2]).metric.better)
            drawing.by_method(ax, shown, data.looks, order, logarithmic=logarithmic)
            ax.set_xlabel("" if len(panels) > 1 else name)
            continue
        drawing.against_ratio(ax, shown, data.looks, logarithmic=logarithmic)
        ax.set_ylabel("" if len(panels) > 1 else name)
        ax.set_xlabel("Parameters removed (%)")
    # A method is named beside its line; only the dense model is not.
    unnamed = {*values["method"]} & ({DENSE} if single else {*data.looks})
    title = drawing.with_ratio(values, drawing.meaning(values))
    drawing.legend(figure, drawing.handles(unnamed, data.looks), title)
    return figure


def _heading(facet: str, name: str) -> str:
    """Return a heading in three lines: the model, the metric, its unit."""
    metric = name.replace("_", " ").replace(" (", "\n(")
    return f"{facet}\n{metric}"


def _drawn(values: pd.DataFrame) -> pd.Series:
    """Tell which rows get a panel: those of single tasks if there are few, else those of their mean."""
    single = values["task"] != MEAN
    count = values["task"].where(single).groupby(values["measure"]).transform("nunique")
    return single == (count <= MOST_TASKS)


def _at(values: pd.DataFrame, place: tuple[str, str, str]) -> pd.DataFrame:
    """Return the rows of one measure, metric and task."""
    return values[np.logical_and.reduce(values[["measure", "metric", "task"]].eq([*place]), axis=1)]
