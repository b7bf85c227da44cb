"""Our scores against the published ones of the same settings, without suspect ones, with 95 % intervals; hollow
points are single tasks, the others averages.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.averages import AVERAGE
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.measures import MEAN, all_values
from hfprune.report.publication import FigurePublication
from hfprune.report.style import TASKS


class Published(FigurePublication):
    """One panel per model, with the diagonal."""

    order = 2
    shows = "zeroshot"
    empty = "Published against reproduced: no published setting of the paper's models is measured"

    def values(self, data: Collected) -> pd.DataFrame:
        """Pair our scores in percent with the published ones of the same setting."""
        scores = all_values(data.results, data.declared, [data.declared.first("zeroshot")])
        scores = charts.summary(scores, data.declared).replace({"task": {MEAN: AVERAGE}})
        if not {*TASKS} <= {*scores["task"]}:  # the published averages are over other tasks
            scores = scores[scores["task"] != AVERAGE]
        by = ["model", "method", "ratio", "recovery", "task"]
        return scores.merge(data.published[[*by, "value"]], on=by, suffixes=("", "_published"))

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        """Draw the pairs."""
        values = values.assign(group=values["method"], place=values["value_published"])
        values["hollow"] = values["task"] != AVERAGE
        cells = [
            charts.Chart(
                part.assign(value=part["value"]), data.looks, "Reproduced (%)", "Published (%)", heading=model
            )
            for model, part in values.groupby("model", sort=False)
        ]
        title = ". ".join(filter(None, [charts.meaning(values), "Hollow: single tasks"]))
        figure = sheet([("", cells)], title, 2.6 * len(cells), 2.2)
        both = values[["value", "place"]].to_numpy()
        for ax in figure.axes[: len(cells)]:
            ax.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=0.8, zorder=0)
        return figure
