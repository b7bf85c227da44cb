"""Scores of the middle layer's neurons, sorted, without scores of zero."""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.reference import REFERENCE
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import log
from hfprune.report.drawing.panels import full, grid, handles, legend
from hfprune.report.publication import FigurePublication

COMPARED = (REFERENCE, "cross_entropy", "distillation")  # the criteria that the paper compares


class NeuronsFigure(FigurePublication):
    """One row of two panels per model, after the idea of the paper's Figure 2.

    The left has each method's scores in their own order. The right has all in the order of entropy's scores,
    so that each neuron has one place.
    """

    order = 9
    reads = ("layers.parquet",)
    empty = "Scores: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        there = {*data.neurons["method"]}
        methods = [method for method in COMPARED if method in there] or charts.pruned(
            data.neurons, data.looks
        )[:3]
        chosen = data.neurons[data.neurons["method"].isin(methods)]
        wide = chosen.pivot(index=["model", "layer", "neuron"], columns="method", values="score")[methods]
        return wide.reset_index()

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        models, methods = sorted({*values["model"]}), [*values.columns[3:]]
        titles = ["Each in its own order", f"In the order of {data.looks[methods[0]].label}"]
        figure, axes = grid(models, titles, full(), 1.8, sharex=True, sharey="row")
        for (left, right), model in zip(axes, models, strict=True):
            wide = values[values["model"] == model].dropna(axis=1, how="all")
            present = [method for method in methods if method in wide]
            wide = wide.sort_values(present[0], ascending=False)
            place = 100 * (np.arange(len(wide)) + 0.5) / len(wide)
            every = ceil(len(wide) / 1000)  # enough to see, few enough to open
            for method in present:
                look = data.looks[method]
                left.plot(place, np.sort(wide[method])[::-1], color=look.colour, linestyle=look.line)
                dots = {"linestyle": "", "marker": look.marker, "markersize": 1.5, "markeredgewidth": 0}
                style = {"linestyle": "-", "zorder": 3} if method == present[0] else dots
                right.plot(place[::every], wide[method][::every], color=look.colour, **style)
            for ax in (left, right):
                log(ax, "y", nonpositive="mask")  # a criterion may leave neurons without a score
            left.set_ylabel(f"Score / mean, layer {wide['layer'].iloc[0]}")
        for ax in axes[-1]:
            ax.set_xlabel("Neurons (%)")
        legend(figure, handles(methods, data.looks))
        return figure
