"""Accuracy per task, with 95 % intervals; the black line is the dense model, the dotted one chance."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.averages import primary_values
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import at_one_ratio, grid, handles, legend, width, xlabel
from hfprune.report.drawing.marks import BLACK, GREY, lines, points
from hfprune.report.measures import scaled
from hfprune.report.publication import FigurePublication
from hfprune.report.style import tasks_in_order
from hfprune.results import DENSE


class Tasks(FigurePublication):
    """One row of panels per model and recovery, one column per ratio."""

    order = 4
    shows = "zeroshot"

    def make(self, data: Collected) -> Figure | str:
        """Draw the metric of each task that the paper's rule chooses."""
        values = scaled(primary_values(data.levels, data.declared.first("zeroshot")))
        if values.empty:
            return "Zero-shot accuracy: not measured"
        values = at_one_ratio(values)
        methods, ratios = charts.pruned(values, data.looks), charts.ratios(values)
        # With more methods, the bars are so close that they hide the points.
        values[["low", "high"]] = values[["low", "high"]] if len(methods) <= 6 else np.nan
        facets, tasks = charts.facets(values), tasks_in_order(values["task"])
        places = {task: float(i) for i, task in enumerate(tasks)}
        line = min(max(0.22, 0.06 * len(methods)), 0.4)  # inches a task, so that two models fit a page
        size = width(ratios), line * len(tasks)
        figure, axes = grid([*facets], charts.percents(ratios), *size, sharex=True, sharey=True)
        offsets = charts.dodge(len(methods), 0.76)
        for row, facet in zip(axes, facets.values(), strict=True):
            for ax, ratio in zip(row, ratios, strict=True):
                for i, task in enumerate(tasks.values()):
                    shade = "#F4F4F4" if i % 2 else "white"
                    ax.axhspan(i - 0.5, i + 0.5, color=shade, zorder=0, linewidth=0)
                    if task.chance:
                        ax.vlines(
                            100 * task.chance, i - 0.5, i + 0.5, color=GREY, linestyle=":", linewidth=0.9
                        )
                # As floats, even if nothing is shown.
                dense = facet[facet["method"] == DENSE]
                ys = dense["task"].map(places).astype(float)
                ax.vlines(dense["value"], ys - 0.42, ys + 0.42, color=BLACK, linewidth=1)
                for method, offset in zip(methods, offsets, strict=True):
                    shown = facet[(facet["method"] == method) & (facet["ratio"] == ratio)]
                    y = shown["task"].map(places).astype(float) + offset
                    reach = [shown["value"] - shown["low"], shown["high"] - shown["value"]]
                    options = {"linestyle": "", "markersize": 3.5, "xerr": reach}
                    points(ax, data.looks[method], shown["value"], y, **options)
                lines(ax, [task.short for task in tasks.values()])
        low, high = axes[0, 0].get_xlim()
        axes[0, 0].set_xlim(max(low, -2), min(high, 102))
        xlabel(axes, "Accuracy (%)")
        marks = [
            Line2D([], [], color=BLACK, marker="|", linestyle="", markersize=9, label="Dense"),
            Line2D([], [], color=GREY, linestyle=":", label="Chance"),
        ]
        legend(
            figure, [*marks, *handles(methods, data.looks)], charts.meaning(values[values["method"] != DENSE])
        )
        return figure
