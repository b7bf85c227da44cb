"""Learning curves of recovery: the loss on held-out instruction pairs against the tokens that were trained
on; hollow is before training, and the dense model is the control. Points before the end are of an unfinished
schedule, whose learning rate has not decayed: a run of half the budget may end lower or higher than its curve
at half, and a flat end does not say that more data would bring nothing.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import column, handles, legend, wrap
from hfprune.report.drawing.marks import GREY, log, small
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look, Marker
from hfprune.results import DENSE

ROOM = 0.08  # of an axis, for a line of small letters


class Learning(FigurePublication):
    """One panel per model, one line per method, ratio and seed.

    A logarithmic axis has no place for 0: the loss before training is at half the tokens of the first step.
    """

    order = 12
    shows = "lora"

    def make(self, data: Collected) -> Figure | str:
        """Draw the loss in nats per token."""
        curves = data.curves
        if curves.empty:
            return "Learning curves of recovery: not measured"
        models = [*dict.fromkeys(curves["model"])]
        figure, axes = wrap(models, column(1.3), 2.2)
        for ax, model in zip(axes, models, strict=True):
            _panel(ax, curves[curves["model"] == model], data.looks)
        before = Line2D([], [], color=GREY, linestyle=":", label="Before training", **_hollow(GREY, "o"))
        entries = [*handles(curves["method"], data.looks, {DENSE}), before]
        said = "Before the end the schedule is unfinished: a run of half the budget may end elsewhere"
        legend(figure, entries, charts.with_ratio(curves.drop(columns="recovery"), said))
        return figure


def _panel(ax: Axes, curves: pd.DataFrame, looks: dict[str, Look]) -> None:
    several = len(charts.ratios(curves)) > 1
    for (method, *_), curve in curves.groupby(["method", "ratio", "seed", "recovery"]):
        look, curve = looks[method], curve.sort_values("step")
        start, trained = curve[curve["step"] == 0], curve[curve["step"] > 0]
        tokens, loss = trained["tokens"], trained["loss"]
        place, before = tokens.iloc[0] / 2, start["loss"].item()
        ax.plot(tokens, loss, color=look.colour, linestyle=look.line, marker=look.marker)
        ax.plot([place, tokens.iloc[0]], [before, loss.iloc[0]], color=look.colour, linestyle=":", zorder=0)
        ax.plot(place, before, linestyle="", **_hollow(look.colour, look.marker))
    log(ax, "x")
    if charts.spans_a_decade(curves["loss"]):
        log(ax, "y")
    if several:
        _name_ratios(ax, curves[curves["method"] != DENSE])
    ax.set(xlabel="Trained tokens", ylabel="Held-out loss (nats/token)")


def _name_ratios(ax: Axes, curves: pd.DataFrame) -> None:
    """Write the ratio at the end of its curves, once for those whose ends are near each other."""
    last = (
        curves.sort_values("step")
        .groupby(["method", "ratio", "seed", "recovery"])
        .tail(1)
        .sort_values("loss")
    )
    ax.autoscale_view()
    place = (ax.transScale + ax.transLimits).transform(last[["tokens", "loss"]].to_numpy())
    last = last.assign(across=place[:, 0].round(2), height=place[:, 1])
    where: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": small()}
    for (ratio, _), ends in last.groupby(["ratio", "across"]):
        for _, near in ends.groupby((ends["height"].diff() > ROOM).cumsum()):
            ax.annotate(f"{100 * ratio:.3g}%", tuple(near[["tokens", "loss"]].mean()), (4, 0), **where)


def _hollow(colour: str, marker: Marker) -> dict[str, Any]:
    return {"marker": marker, "markerfacecolor": "white", "markeredgecolor": colour}
