"""Distribution of the scores in each layer, relative to its mean."""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import across, framed, full, legend, say, strip
from hfprune.report.drawing.lettering import fit
from hfprune.report.drawing.marks import BLACK, log
from hfprune.report.publication import FigurePublication


class Scores(FigurePublication):
    """One panel per method, and a block of panels per model."""

    order = 8
    reads = ("layers.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw quantiles of scores divided by their layer's mean."""
        by = ["model", "method", "layer", "quantile"]
        values = data.quantiles.groupby(by, as_index=False)["score"].mean()
        if values.empty:
            return "Scores: not measured"
        models, methods = sorted({*values["model"]}), charts.pruned(values, data.looks)
        lines = ceil(len(methods) / across(1.3))
        columns = ceil(len(methods) / lines)
        figure = framed(full(), 1.25 * lines * len(models) + 0.3)
        axes = figure.subplots(lines * len(models), columns, squeeze=False, sharex=True, sharey=True)
        for block, model in zip(np.split(axes, len(models)), models, strict=True):
            for ax, method in zip(block.flat, methods, strict=False):
                facet = values[(values["model"] == model) & (values["method"] == method)]
                ax.set_title(fit(data.looks[method].label, 0.85 * full() / columns), loc="left")
                if facet.empty:
                    say(ax, "not measured")
                else:
                    quantiles = facet.pivot(index="layer", columns="quantile", values="score")
                    _bands(ax, quantiles, data.looks[method].colour)
            for ax in block.flat[len(methods) :]:
                ax.set_axis_off()
            for ax in block[:, -1] if len(models) > 1 else ():
                strip(ax, model, 0.9)
        # The last axes of each column, which may be above the last row.
        for ax in block.flat[len(methods) - columns : len(methods)]:
            ax.set_xlabel("Layer")
            ax.tick_params(labelbottom=True)
        figure.supylabel("Score / mean of the layer", fontsize=rcParams["axes.labelsize"])
        median = Line2D([], [], color=BLACK, label="Median")
        most = Patch(color=BLACK, alpha=0.45, linewidth=0, label="25 to 75 %")
        all_but_few = Patch(color=BLACK, alpha=0.2, linewidth=0, label="5 to 95 %")
        largest = Line2D([], [], color=BLACK, linestyle=":", linewidth=0.9, label="Largest")
        legend(figure, [median, most, all_but_few, largest])
        return figure


def _bands(ax: Axes, quantiles: pd.DataFrame, colour: str) -> None:
    for low, high, alpha in ((0.05, 0.95, 0.2), (0.25, 0.75, 0.35)):
        band = quantiles.index, quantiles[low], quantiles[high]
        ax.fill_between(*band, color=colour, alpha=alpha, linewidth=0)
    ax.plot(quantiles[0.5], color=colour)
    ax.plot(quantiles[1.0], color=colour, linestyle=":", linewidth=0.9)
    log(ax, "y", short=True)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
