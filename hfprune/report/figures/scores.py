"""Distribution of the scores in each layer, relative to its mean: median, 25 to 75 %, 5 to 95 %, and the largest
(dotted).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import log
from hfprune.report.drawing.panels import full, grid, legend, say
from hfprune.report.publication import FigurePublication

ACROSS = 5  # panels in a row


class Scores(FigurePublication):
    """One panel per method, and a block of panels per model."""

    order = 8
    reads = ("layers.parquet",)
    empty = "Scores: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        by = ["model", "method", "layer", "quantile"]
        means = data.quantiles.groupby(by)["score"].mean()
        return means.unstack().rename(columns="{:g}".format).reset_index()

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        models, methods = sorted({*values["model"]}), charts.pruned(values, data.looks)
        columns = min(ACROSS, len(methods))
        blank = [""] * (-len(methods) % columns)
        panels = np.array([*methods, *blank]).reshape(-1, columns)
        lines = [(model, line) for model in models for line in panels]
        share = {"sharex": True, "sharey": True}
        figure, axes = grid([model for model, _ in lines], [""] * columns, full(), 1.3, **share)
        for row, (model, line) in zip(axes, lines, strict=True):
            for ax, method in zip(row, line, strict=True):
                own = values[(values["model"] == model) & (values["method"] == method)].set_index("layer")
                title = f"{model}\n" * (len(models) > 1 and ax is row[0]) + (
                    data.looks[method].label if method else ""
                )
                ax.set_title(title, loc="left", fontsize="small")
                if own.empty:
                    say(ax, "not measured" * bool(method))
                    continue
                colour = data.looks[method].colour
                for low, high, alpha in (("0.05", "0.95", 0.2), ("0.25", "0.75", 0.35)):
                    ax.fill_between(own.index, own[low], own[high], color=colour, alpha=alpha, linewidth=0)
                ax.plot(own["0.5"], color=colour)
                ax.plot(own["1"], color=colour, linestyle=":", linewidth=0.9)
                log(ax, "y", 4)
            row[0].set_ylabel("score / mean")
        for ax in axes[-1]:
            ax.set_xlabel("Layer")
        legend(figure, [], "Line: median. Bands: 25 to 75 % and 5 to 95 %. Dotted: the largest")
        return figure
