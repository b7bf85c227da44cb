"""Our scores against the published ones of the same settings, without suspect ones, with 95 % intervals."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.averages import AVERAGE, paper_average, primary_values
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import column, handles, legend, wrap
from hfprune.report.drawing.marks import GREY, points
from hfprune.report.measures import scaled
from hfprune.report.publication import FigurePublication
from hfprune.report.style import TASKS
from hfprune.results import DENSE


class Published(FigurePublication):
    """One panel per model, with the diagonal."""

    order = 2
    shows = "zeroshot"

    def make(self, data: Collected) -> Figure | str:
        """Draw averages as large points and single tasks as small ones."""
        if data.published.empty:
            return "Published against reproduced: no model of this study is in the paper"
        pairs = _pairs(data)
        if pairs.empty:
            return "Published against reproduced: no published setting is measured yet"
        models = [model for model in dict.fromkeys(data.published["model"]) if model in set(pairs["model"])]
        both = pairs[["value", "value_published"]].to_numpy()
        figure, axes = wrap(models, column(), 2.2)
        for ax, model in zip(axes, models, strict=True):
            ax.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=0.8, zorder=0)
            for (method, average), shown in pairs[pairs["model"] == model].groupby(["method", "average"]):
                reach = [shown["value"] - shown["low"], shown["high"] - shown["value"]]
                options = {"yerr": reach, "linestyle": "", "markersize": 5.5 if average else 2.5}
                points(ax, data.looks[method], shown["value_published"], shown["value"], **options)
            ax.set(xlabel="Published (%)", ylabel="Reproduced (%)")
        identity = Line2D([], [], color=GREY, linewidth=0.8, label="Equal")
        meaning = "; ".join(filter(None, [charts.meaning(pairs), "large: averages, small: tasks"]))
        legend(figure, [*handles(pairs["method"], data.looks, {DENSE}), identity], meaning)
        return figure


def _pairs(data: Collected) -> pd.DataFrame:
    """Return our scores in percent beside the published ones of the same setting (`value_published`)."""
    measure = data.declared.first("zeroshot")
    rows = primary_values(data.levels, measure)
    if {*rows["task"]} == {*TASKS}:  # else the published averages are over other tasks
        rows = pd.concat([rows, paper_average(data.levels, measure)])
    by = ["model", "method", "ratio", "recovery", "task"]
    pairs = scaled(rows).merge(data.published[[*by, "value"]], on=by, suffixes=("", "_published"))
    return pairs.assign(average=pairs["task"] == AVERAGE)
