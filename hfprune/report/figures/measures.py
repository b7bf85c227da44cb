"""Every measure that the paper lacks, against the share of parameters removed, or by method, the best first,
where all have one share, with 95 % intervals.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import panels
from hfprune.report.measures import MEAN, headings, other_values, scaled
from hfprune.report.publication import FigurePublication
from hfprune.results import DENSE

MOST_TASKS = 8  # for a measure with more tasks, their mean is drawn


class Measures(FigurePublication):
    """One panel per measure, or per task if it has at most `MOST_TASKS`."""

    order = 5

    def make(self, data: Collected) -> Figure | str:
        """Draw the first metric of every measure that no table of the paper has."""
        values = other_values(data.results, data.declared)
        places = {*zip(values["measure"], values["metric"], strict=True)}
        # The first declared metric that was measured: tasks differ in those that they have.
        first: dict[str, str] = {}
        for row in data.declared:
            if (row.measure, row.metric.name) in places:
                first.setdefault(row.measure, row.metric.name)
        values = values[values["metric"] == values["measure"].map(first)].dropna(subset="ratio")
        values = scaled(values[_drawn(values)], data.declared)
        if not (values["method"] != DENSE).any():
            return "Other measures: not measured"
        values = charts.summary(values)
        names, facets = headings(values, data.declared), charts.facets(values)
        single = charts.of_one_ratio(values)
        found = {}
        for facet, part in facets.items():
            shown = dict([*part.groupby(["measure", "metric", "task"])])
            for place in [place for place in names if place in shown]:
                rows, name = shown[place], names[place]
                if (rows["method"] != DENSE).any():
                    better = data.declared.find(*place[:2]).metric.better
                    found[_heading(facet, name) if len(facets) > 1 else name] = charts.against_ratio(
                        *(rows, data.looks, name),
                        order=charts.best_first(rows, better) if single else None,
                        logarithmic=charts.spans_a_decade(rows["value"]),
                    )
        if len(found) > 1:  # the panel's name has the number's
            found = {
                name: replace(chart, value=replace(chart.value, title="")) for name, chart in found.items()
            }
        return panels(found, height=1.9, title=charts.with_ratio(values, charts.meaning(values)))


def _heading(facet: str, name: str) -> str:
    """Return a heading in three lines: the model, the metric, its unit."""
    metric = name.replace("_", " ").replace(" (", "\n(")
    return f"{facet}\n{metric}"


def _drawn(values: pd.DataFrame) -> pd.Series:
    """Tell which rows get a panel: those of single tasks if there are few, else those of their mean."""
    single = values["task"] != MEAN
    count = values["task"].where(single).groupby(values["measure"]).transform("nunique")
    return single == (count <= MOST_TASKS)
