"""The marks of charts in axes of matplotlib."""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import XAxis
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from hfprune.report.axis_ends import at_edge
from hfprune.report.charts import Axis, Chart
from hfprune.report.drawing.lettering import points_of
from hfprune.report.style import Look

BLACK, GREY, SHADE = "black", "#8C8C8C", "#EAF2F8"
# Separates markers that touch.
EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.3}
HOLLOW: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "white"}  # published points
LEVEL: dict[str, Any] = {"color": BLACK, "linewidth": 0.8}  # the dense model

NARROW = 0.8  # inches of an axis on which two numbers in letters of full size may touch


def draw(ax: Axes, chart: Chart, room: float | None = None) -> None:
    """Draw a chart, and label its axes; the values of one with names have so many inches."""
    across, rows = bool(chart.names), chart.rows
    if "published" not in rows:
        rows = rows.assign(published=False)
    level = rows["place"].isna()
    _levels(ax, rows[level], across)
    if chart.neutral is not None:
        _sides(ax, chart, rows[rows["low"].notna()])
    low, high = chart.value.ends or (-np.inf, np.inf)
    inside = rows[~level & ~((rows["value"] < low) | (rows["value"] > high))]
    for group, look in chart.looks.items():
        own = inside[inside["group"] == group].sort_values("place")
        measured, hollow = own[~own["published"]], own[own["published"]]
        if len(measured):
            bars = [measured["value"] - measured["low"], measured["high"] - measured["value"]]
            options: dict[str, Any] = {"linestyle": ""} if across else {}
            if measured["low"].notna().any():
                options["xerr" if across else "yerr"] = bars
            points(ax, look, *_at(measured, across), **options)
        if len(hollow):
            ax.plot(*_at(hollow, across), **(HOLLOW | {"marker": look.marker, "color": look.colour}))
    for row in rows[~level].drop(inside.index).itertuples():
        edge, side = (high, "right") if row.value > high else (low, "left")
        where: dict[str, Any] = {"ha": side, "va": "center", "fontsize": small()}
        ax.text(edge, row.place, at_edge(row.value, edge), **where)
    label(ax, "x" if across else "y", chart.value, room)
    label(ax, "y" if across else "x", chart.place)
    if across and room is not None and room < NARROW:
        ax.tick_params(axis="x", labelsize=small())
    if across:
        lines(ax, chart.names)
        ax.grid(chart.neutral is None, axis="x")
    if chart.neutral is not None and not chart.value.log:
        _plain_ticks(ax.xaxis, few(room))
    elif across and not chart.value.log:
        ax.locator_params(axis="x", nbins=few(room, 1), steps=[1, 2, 5, 10])  # 2.5 takes a digit more


def lines(ax: Axes, names: Sequence[str]) -> None:
    """Name the lines of axes, the first on top, in place of a grid."""
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)


def _at(rows: pd.DataFrame, across: bool) -> tuple[pd.Series, pd.Series]:
    return (rows["value"], rows["place"]) if across else (rows["place"], rows["value"])


def _levels(ax: Axes, rows: pd.DataFrame, across: bool) -> None:
    """Draw the dense model as a level with a band, its interval, and the published one as a dotted level."""
    line, span = (ax.axvline, ax.axvspan) if across else (ax.axhline, ax.axhspan)
    for row in rows.itertuples():
        if row.low < row.high:
            span(row.low, row.high, color=BLACK, alpha=0.08, linewidth=0, zorder=0)
        line(row.value, linestyle=":" if row.published else "--", **LEVEL)


def _sides(ax: Axes, chart: Chart, known: pd.DataFrame) -> None:
    """Draw the value between better and worse, and shade the better side of lines with an interval."""
    assert chart.neutral is not None and chart.value.ends is not None
    low, high = chart.value.ends
    side = (low, chart.neutral) if chart.better < 0 else (chart.neutral, high)
    for place in known["place"] if chart.better else ():
        ax.fill_betweenx((place - 0.5, place + 0.5), *side, color=SHADE, zorder=0, linewidth=0)
    ax.axvline(chart.neutral, color=GREY, linewidth=0.8, zorder=1)


def label(ax: Axes, which: Literal["x", "y"], axis: Axis, room: float | None = None) -> None:
    """Give an axis its title, ends, scale and ticks."""
    ax.set(**{f"{which}label": axis.title} | ({f"{which}lim": axis.ends} if axis.ends else {}))
    own = ax.xaxis if which == "x" else ax.yaxis
    if axis.log == 10 and which == "x" and axis.ends and axis.ends[1] < 10 * axis.ends[0]:
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis, few(room))
    elif axis.log == 10:
        log(ax, which, room=room)
    elif axis.log:
        getattr(ax, f"set_{which}scale")("log", base=axis.log)
        own.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if axis.ticks is not None:
        own.set_ticks(axis.ticks, [f"{tick:.3g}" for tick in axis.ticks])


def log(
    ax: Axes,
    which: Literal["x", "y"],
    nonpositive: str = "clip",
    short: bool = False,
    room: float | None = None,
) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks, or powers of ten if they are long.

    A `short` axis, and one across, has room for few of them.
    """
    upright = which == "y"
    getattr(ax, f"set_{which}scale")("log", nonpositive=nonpositive)
    axis, (low, high) = (ax.yaxis, ax.get_ylim()) if upright else (ax.xaxis, ax.get_xlim())
    fine = high < (1000 if upright and not short else 20) * low
    if fine and not upright:
        axis.set_major_locator(FixedLocator(log_ticks(low, high, few(room))))
    else:
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=6 if upright else few(room))
        )
    plain = high < 1e5 and low >= 1e-3
    axis.set_major_formatter(FuncFormatter(_plain_number) if plain else LogFormatterMathtext())
    axis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most so many round numbers between the ends of an axis of one or two decades."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    inside = [tick for tick in found if low <= tick <= high]
    return inside[:: max(1, ceil(len(inside) / most))]


def _plain_number(x: float, _: float | None = None) -> str:
    return f"{x:,.0f}" if x >= 1 else f"{x:g}"


def _plain_ticks(axis: XAxis, count: int) -> None:
    """Set plain numbers, on a logarithmic axis too; not at the very edge, where a neighbour's would touch them."""
    axis.set_major_locator(MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], prune="both"))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}".replace("-", "−")))
    axis.set_minor_locator(NullLocator())


def few(room: float | None = None, least: int = 2) -> int:
    """Return the number of ticks for an axis of so many inches: four at most, and fewer in large letters."""
    letters = points_of(rcParams["font.size"]) / 8
    return max(least, round(4 / letters if room is None else min(4.0, room / 0.4) / letters))


def small() -> float:
    """Return the size in points of letters that may be smaller than the rest."""
    return 0.75 * points_of(rcParams["font.size"])


def points(ax: Axes, look: Look, x: Any, y: Any, **options: Any) -> None:
    """Draw a method's points, with `xerr` and `yerr` of `Axes.errorbar` as bars."""
    style = {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "elinewidth": 0.7,
        "capthick": 0.7,
        **EDGE,
    }
    ax.errorbar(x, y, **(style | options))
