"""Quality against what a user gains: measured speed-ups and, relative to the dense model, parameters and
memory; better is lower and to the right. The line is the Pareto front; bars are 95 % intervals, vertical
marks theoretical speed-ups.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.tradeoff import GAINS, THEORY, front_name, tradeoff
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import UNNAMED, across, full, grid, handles, legend
from hfprune.report.drawing.marks import GREY, points
from hfprune.report.publication import FigurePublication
from hfprune.report.style import GAIN_LABELS, QUALITY_LABELS, Look
from hfprune.results import DENSE


class Tradeoff(FigurePublication):
    """One row of panels per model and quality, one column per gain; only those that were measured."""

    order = 15
    shows = "latency"

    def make(self, data: Collected) -> Figure | str:
        """Draw what each pruned model costs in quality against what it gains."""
        cells = tradeoff(data.levels, data.declared)
        pruned = cells[cells["method"] != DENSE]
        gains = [gain for gain in GAINS if pruned[gain].notna().any()]
        most_rows = len(QUALITY_LABELS) if full() > 5 else 1  # a column has no room for all
        rows = {
            (model, quality): cells[cells["model"] == model]
            for model, part in pruned.groupby("model", sort=False)
            for quality in [quality for quality in QUALITY_LABELS if part[quality].notna().any()][:most_rows]
        }
        if not rows or not gains:
            return "Quality against speed: not measured"
        several = len({model for model, _ in rows}) > 1
        most = min(across(UNNAMED), len(gains))
        turns = [gains[start : start + most] for start in range(0, len(gains), most)]
        lines = [(*row, turn, i) for row in rows.items() for i, turn in enumerate(turns)]
        names = [key[0] if several and not turn else "" for key, *_, turn in lines]
        figure, axes = grid(names, [""] * most, full(), 1.7, sharey="row")
        for number, (line, ((_, quality), part, turn, _)) in enumerate(zip(axes, lines, strict=True), 1):
            for ax in line[len(turn) :]:
                ax.set_axis_off()
            for ax, gain in zip(line, turn, strict=False):
                _panel(ax, part.dropna(subset=[quality, gain]), quality, gain, data.looks)
                if len(turns) > 1 or number == len(lines):
                    ax.set_xlabel(GAIN_LABELS[gain] + (" (% of dense)" if GAINS[gain] < 0 else ""))
            line[0].set_ylabel(QUALITY_LABELS[quality])
        marks = [Line2D([], [], color=GREY, linewidth=0.8, label="Pareto front")]
        if {*gains} & {*THEORY}:
            marks.append(Line2D([], [], color=GREY, marker="|", linestyle="", label="Theoretical speed-up"))
        drawn = handles(cells["method"], data.looks, {DENSE})
        legend(
            figure,
            [*drawn, *marks],
            "Bars: 95 % intervals over documents, and over processes where there are several",
        )
        return figure


def _panel(ax: Axes, cells: pd.DataFrame, quality: str, gain: str, looks: dict[str, Look]) -> None:
    """Draw the cells of a model, and the front with the ratio beside its best cell of each.

    A thin line leads from a point to its theoretical speed-up.
    """
    scale = 1 if GAINS[gain] > 0 else 100
    front = cells[cells[front_name(quality, gain)]].sort_values([gain, quality])
    ax.plot(scale * front[gain], front[quality], color=GREY, linewidth=0.8, zorder=0)
    for method, own in cells.groupby("method"):
        look, x, y = looks[method], scale * own[gain], own[quality]
        bars: dict[str, Any] = {"yerr": _reach(own, quality)}
        if gain in THEORY:
            bars["xerr"] = _reach(own, gain)
            theory = own[THEORY[gain][0]]
            ax.plot(theory, y, color=look.colour, marker="|", linestyle="", zorder=0)
            ax.hlines(y, x, theory, color=look.colour, linewidth=0.5, alpha=0.4, zorder=0)
        points(ax, look, x, y, linestyle="", **bars)
    # The best of each ratio; several would hide each other.
    for _, cell in front[front["method"] != DENSE].sort_values(quality).groupby("ratio").head(1).iterrows():
        where: dict[str, Any] = {"textcoords": "offset points", "va": "top", "fontsize": 6, "color": GREY}
        ax.annotate(f"{100 * cell['ratio']:.3g}%", (scale * cell[gain], cell[quality]), (3, -3), **where)
    if GAINS[gain] < 0:
        ax.invert_xaxis()  # better to the right, as for speed


def _reach(cells: pd.DataFrame, name: str) -> list[pd.Series]:
    """Return how far the interval of a number reaches below and above it."""
    return [cells[name] - cells[f"{name}_low"], cells[f"{name}_high"] - cells[name]]
