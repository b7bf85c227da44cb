"""The overlap of each method's kept neurons with entropy's, layer by layer; the dashed line is the overlap of
a random choice.
"""

from math import ceil
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hfprune.analysis.reference import REFERENCE
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import grid, handles, legend, width, xlabel
from hfprune.report.drawing.marks import BLACK, EDGE, GREY
from hfprune.report.publication import FigurePublication


class Overlap(FigurePublication):
    """One row of panels per model, one column per ratio."""

    order = 6
    reads = ("layers.parquet",)

    def make(self, data: Collected) -> Figure | str:
        """Draw Jaccard indices; if entropy is not in the study, the first method takes its place."""
        pairs = data.overlap
        if pairs.empty:
            return "Overlap of kept neurons: not measured"
        present = {*pairs["method_a"], *pairs["method_b"]}
        reference = next(method for method in (REFERENCE, *data.looks) if method in present)
        pairs = pairs[(pairs["method_a"] == reference) | (pairs["method_b"] == reference)]
        other = pairs["method_b"].where(pairs["method_a"] == reference, pairs["method_a"])
        by = ["model", "ratio", "method", "layer"]
        values = pairs.assign(method=other).groupby(by, as_index=False)[["jaccard", "expected"]].mean()
        models, ratios = sorted({*values["model"]}), charts.ratios(values)
        methods = charts.pruned(values, data.looks)
        chance: dict[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 0.8}
        figure, axes = grid(models, charts.percents(ratios), width(ratios), 1.7, sharex=True, sharey=True)
        for row, model in zip(axes, models, strict=True):
            for ax, ratio in zip(row, ratios, strict=True):
                facet = values[(values["model"] == model) & (values["ratio"] == ratio)]
                if facet.empty:  # the axes stay, since others in the row and column share them
                    ax.text(
                        0.5, 0.5, "not measured", transform=ax.transAxes, color=GREY, ha="center", va="center"
                    )
                ax.plot(facet.groupby("layer")["expected"].mean(), **chance)
                for i, method in enumerate(methods):
                    shown, look = facet[facet["method"] == method], data.looks[method]
                    step = ceil(len(shown) / 6) or 1
                    options = {"color": look.colour, "marker": look.marker, "linestyle": look.line, **EDGE}
                    ax.plot(shown["layer"], shown["jaccard"], markevery=(i % step, step), **options)
                ax.set_ylim(0, 1)
                ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            row[0].set_ylabel(f"Jaccard with {data.looks[reference].label}")
        xlabel(axes, "Layer")
        legend(figure, [*handles(methods, data.looks), Line2D([], [], label="Chance", **chance)])
        return figure
