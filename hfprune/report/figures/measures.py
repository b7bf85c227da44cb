"""Every measure that the paper lacks, against the share of parameters removed, or by method, the best first,
where all have one share, with 95 % intervals.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.averages import MEAN
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import at_one_ratio, full, lines_height, sheet
from hfprune.report.measures import headings, other_values, scaled
from hfprune.report.publication import FigurePublication
from hfprune.results import DENSE

MOST_TASKS = 8  # for a measure with more tasks, or more than two in a column, their mean is drawn


class Measures(FigurePublication):
    """One row of panels per model and recovery, one column per measure, or per task if there are few."""

    order = 5

    def make(self, data: Collected) -> Figure | str:
        """Draw the first metric of every measure that no table of the paper has."""
        values = other_values(data.levels, data.declared)
        places = {*zip(values["measure"], values["metric"], strict=True)}
        # The first declared metric that was measured: tasks differ in those that they have.
        first: dict[str, str] = {}
        for row in data.declared:
            if (row.measure, row.metric.name) in places:
                first.setdefault(row.measure, row.metric.name)
        values = values[values["metric"] == values["measure"].map(first)].dropna(subset="ratio")
        values = scaled(values[_drawn(values)])
        if not (values["method"] != DENSE).any():
            return "Other measures: not measured"
        values = at_one_ratio(values)
        names, facets = headings(values, data.declared), charts.facets(values)
        keys = ["measure", "metric", "task"]
        compared = {*values[values["method"] != DENSE].groupby(keys).groups}
        names = {place: name.replace("_", " ") for place, name in names.items() if place in compared}
        better = {place: data.declared.find(*place[:2]).metric.better for place in names}
        single = charts.of_one_ratio(values)
        wide = charts.wide(values, keys)
        cells, heights = [], []
        models = [facet["model"].iloc[0] for facet in facets.values()]
        for model, facet in zip(models, facets.values(), strict=True):
            parts = {place: part for place, part in facet.groupby(keys) if {*part["method"]} != {DENSE}}
            cells.append(charts.row_of(parts, names, data.looks, better, wide[model], single))
            heights.append(lines_height(len(charts.pruned(facet, data.looks))) if single else 1.9)
        columns = [charts.with_shared_axes(column, models) for column in zip(*cells, strict=True)]
        title = charts.with_ratio(values, charts.meaning(values))
        return sheet([*zip(*columns, strict=True)], [*facets], heights, title)


def _drawn(values: pd.DataFrame) -> pd.Series:
    """Tell which rows get a panel: those of single tasks if there are few, else those of their mean."""
    single = values["task"] != MEAN
    count = values["task"].where(single).groupby(values["measure"]).transform("nunique")
    return single == (count <= (MOST_TASKS if full() > 5 else 2))
