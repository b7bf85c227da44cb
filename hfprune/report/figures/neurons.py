"""Scores of the middle layer's neurons, sorted, without scores of zero."""

from math import ceil
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.reference import REFERENCE
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import full, grid, legend, xlabel
from hfprune.report.drawing.marks import log
from hfprune.report.publication import FigurePublication

COMPARED = (REFERENCE, "cross_entropy", "distillation")  # the criteria that the paper compares
LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


class Neurons(FigurePublication):
    """One row of two panels per model, after the idea of the paper's Figure 2.

    The left has each method's scores in their own order. The right has all in the order of entropy's scores,
    so that each neuron has one place.
    """

    order = 9
    reads = ("layers.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw the criteria that the paper compares, or the first three of a study without them."""
        if data.neurons.empty:
            return "Scores: not measured"
        models = sorted({*data.neurons["model"]})
        methods = [method for method in COMPARED if method in set(data.neurons["method"])]
        methods = methods or charts.pruned(data.neurons, data.looks)[:3]
        looks = {method: data.looks[method] for method in methods}
        titles = ["Each in its own order", f"In the order of {looks[methods[0]].label}"]
        figure, axes = grid(models, titles, full(), 1.8, sharex=True, sharey="row")
        for row, model in zip(axes, models, strict=True):
            layer = data.neurons[data.neurons["model"] == model]
            wide = layer.pivot(index="neuron", columns="method", values="score")
            present = [method for method in methods if method in wide]
            wide = wide.sort_values(present[0], ascending=False)
            place = 100 * (np.arange(len(wide)) + 0.5) / len(wide)
            every = ceil(len(wide) / 1000)  # enough to see, few enough to open
            for method, line in zip(present, LINES, strict=False):
                look = looks[method]
                row[0].plot(place, np.sort(wide[method])[::-1], color=look.colour, linestyle=line)
                if method == present[0]:
                    row[1].plot(place, wide[method], color=look.colour, zorder=3)
                else:
                    dots = {"linestyle": "", "marker": look.marker, "markersize": 1.5, "markeredgewidth": 0}
                    row[1].plot(place[::every], wide[method][::every], color=look.colour, zorder=2, **dots)
            for ax in row:
                log(ax, "y", "mask")  # a criterion may leave neurons without a score
            row[0].set_ylabel(f"Score / mean, layer {layer['layer'].iloc[0]}")
        xlabel(axes, "Neurons (%)")
        pairs = zip(looks.values(), LINES, strict=False)
        legend(
            figure,
            [Line2D([], [], color=look.colour, linestyle=line, label=look.label) for look, line in pairs],
        )
        return figure
