"""The figure of learning curves of recoveries."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.report.collected import Collected
from hfprune.report.figures import drawing
from hfprune.report.figures.drawing import GREY
from hfprune.report.style import COLUMN_WIDTH
from hfprune.results import DENSE


def learning(data: Collected) -> Figure:
    """Draw the loss on held-out sequences against trained tokens, one panel a model.

    One line per method, ratio and seed, the dense model among them, which is the control. The axis is logarithmic
    and has no place for 0, so the loss before training is hollow, at half the tokens of the first step.
    """
    curves = data.curves
    if curves.empty:
        return drawing.not_measured("Learning curves of recovery")
    models = [*dict.fromkeys(curves["model"])]
    figure, axes = drawing.wrap(models, 1.3 * COLUMN_WIDTH, 2.2)
    for ax, model in zip(axes, models, strict=True):
        _panel(ax, curves[curves["model"] == model], data)
    before = Line2D([], [], color=GREY, linestyle=":", label="Before training", **_hollow(GREY, "o"))
    handles = drawing.handles(curves["method"], data.looks, {DENSE})
    said = "Before the end the schedule is unfinished: a run of half the budget may end elsewhere"
    drawing.legend(figure, [*handles, before], drawing.with_ratio(curves, said))
    return figure


def _panel(ax: Axes, curves: pd.DataFrame, data: Collected) -> None:
    several = len(drawing.ratios(curves)) > 1
    for (method, ratio, _), curve in curves.groupby(["method", "ratio", "seed"]):
        look, curve = data.looks[method], curve.sort_values("step")
        start, trained = curve[curve["step"] == 0], curve[curve["step"] > 0]
        place = trained["tokens"].iloc[0] / 2
        ax.plot(
            trained["tokens"], trained["loss"], color=look.colour, linestyle=look.line, marker=look.marker
        )
        ax.plot(
            [place, trained["tokens"].iloc[0]],
            [start["loss"].item(), trained["loss"].iloc[0]],
            color=look.colour,
            linestyle=":",
            zorder=0,
        )
        ax.plot(place, start["loss"].item(), linestyle="", **_hollow(look.colour, look.marker))
        if several and method != DENSE:
            end = (trained["tokens"].iloc[-1], trained["loss"].iloc[-1])
            text = f"{100 * ratio:.3g}%"
            ax.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=drawing.small())
    drawing.log(ax, "x")
    if drawing.spans_a_decade(curves.rename(columns={"loss": "value"})):
        drawing.log(ax, "y")
    ax.set(xlabel="Trained tokens", ylabel="Held-out loss (nats/token)")


def _hollow(colour: str, marker: str) -> dict[str, Any]:
    return {"marker": marker, "markerfacecolor": "white", "markeredgecolor": colour}
