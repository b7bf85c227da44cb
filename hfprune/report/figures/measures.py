"""Every measure that the paper lacks, against the share of parameters removed, or by method at a single share,
the best first, with 95 % intervals.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.cells import DENSE
from hfprune.report import charts
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.values import headings, other_values, scaled
from hfprune.results.averages import MEAN
from hfprune.results.reader import Results

MOST_TASKS = 8  # for a measure with more tasks, their mean is drawn


class MeasuresFigure(FigurePublication):
    """A panel per measure and task by the first metric, or of the mean over more than `MOST_TASKS`."""

    order = 5
    empty = "Other measures: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        values = other_values(data.levels, data.declared)
        places = {*zip(values["measure"], values["metric"], strict=True)}
        # The first declared metric that was measured: tasks differ in those that they have.
        first: dict[str, str] = {}
        for row in data.declared:
            if (row.measure, row.metric.name) in places:
                first.setdefault(row.measure, row.metric.name)
        values = values[values["metric"] == values["measure"].map(first)].dropna(subset="ratio")
        single = values["task"] != MEAN
        count = values["task"].where(single).groupby(values["measure"]).transform("nunique")
        values = values[single == (count <= MOST_TASKS)]
        compared = values.loc[values["method"] != DENSE, charts.OUTCOME].drop_duplicates()
        return scaled(values.merge(compared))

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        labels = {key: name.replace("_", " ") for key, name in headings(values, data.declared).items()}
        rows = charts.outcomes(values, labels, looks_of(data), data.declared)
        return sheet(rows, charts.meaning(values), height=2.2)
