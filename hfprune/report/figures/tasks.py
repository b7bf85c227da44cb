"""Accuracy by task, with 95 % intervals; black is the dense model, and the grey line a guess."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.assets.known_tasks import tasks_in_order
from hfprune.cells import DENSE
from hfprune.report import charts
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.unread import GUESS, LOOKS
from hfprune.report.values import all_values, scaled
from hfprune.results.averages import AVERAGE, AVERAGE_WITHOUT_CROWS, MEAN
from hfprune.results.reader import Results

ACCURACY = charts.directed("Accuracy (%)", "higher")


class Tasks(FigurePublication):
    """Panels by model, recovery and ratio with a line for each task; more than six methods lack intervals."""

    order = 4
    shows = "zeroshot"
    empty = "Zero-shot accuracy: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        scores = all_values(data.levels, data.declared, [data.declared.first("zeroshot")])
        scores = scores[scores["metric"] == AVERAGE]
        return scaled(scores[~scores["task"].isin([MEAN, AVERAGE_WITHOUT_CROWS])])

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        methods, tasks = charts.pruned(values, looks_of(data)), tasks_in_order(values["task"])
        places = {task: float(i) for i, task in enumerate(tasks)}
        aside = {DENSE: 0.0} | dict(zip(methods, charts.dodge(len(methods), 0.76), strict=True))
        place = values["task"].map(places) + values["method"].map(aside)
        chance = [100 * (tasks[task].chance or np.nan) for task in values["task"]]
        drawn = values.assign(group=values["method"], place=place, neutral=chance)
        # With more methods, the bars are so close that they hide the points.
        drawn.loc[drawn["method"].eq(DENSE) | (len(methods) > 6), ["low", "high"]] = np.nan
        names, tall = [task.short for task in tasks.values()], max(1.5, 0.4 * len(methods))
        rows = []
        for name, facet in charts.facets(drawn).items():
            cells = []
            for ratio in charts.ratios(facet):
                heading = f"{name}, {charts.share_removed(ratio)}"
                shown = facet[facet["ratio"].isin([0.0, ratio])]
                cells.append(charts.Chart(shown, looks_of(data), ACCURACY, "", names, heading, tall=tall))
            rows.append(("", cells))
        guess = [Line2D([], [], color=GREY, linewidth=0.8, label=LOOKS[GUESS].label)]
        return sheet(rows, charts.meaning(values[values["method"] != DENSE]), entries=guess)
