"""The marks of charts in axes of matplotlib."""

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any, Literal, TypedDict, cast

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory, offset_copy

from hfprune.cells import DENSE
from hfprune.report.charts import Chart, at_edge, beyond
from hfprune.report.style import Look

BLACK, GREY, SHADE = "black", "#8C8C8C", "#EAF2F8"


class LineStyle(TypedDict, total=False):
    """Properties of a line and its markers, by their names in matplotlib."""

    color: str
    linewidth: float
    linestyle: Literal["--", "-."]
    markeredgecolor: str
    markeredgewidth: float


# Separates touching markers.
EDGE: LineStyle = {"markeredgecolor": "white", "markeredgewidth": 0.3}
DENSE_LINE: LineStyle = {"color": BLACK, "linewidth": 0.8, "linestyle": "--"}  # the dense model
MARKED: LineStyle = {"color": GREY, "linewidth": 0.8, "linestyle": "-."}
KINDS = ["hollow", "published"]  # columns of a chart's rows that distinguish marks
LONG = 1e5  # from here on, a number at a tick is a power of ten
AT_EDGE = 0.75  # font size of a value beyond the edge, relative to other text


def draw(ax: Axes, chart: Chart, room: float = 3.0) -> None:
    """Draw a chart, and label its axes; the horizontal one is `room` inches long."""
    across, rows = bool(chart.names), chart.rows
    rows = rows.assign(**{name: False for name in KINDS if name not in rows})
    _levels(ax, rows[rows["place"].isna()], across, chart.looks)
    far = beyond(chart)[rows["place"].notna()]
    rows = rows[rows["place"].notna()]
    for (group, *kinds), own in rows[~far].groupby(["group", *KINDS], sort=False):
        x, y = (own["value"], own["place"]) if across else (own["place"], own["value"])
        options = mark(chart.looks[group], *kinds) | ({"linestyle": ""} if across else {})
        if own["low"].notna().any():
            options["xerr" if across else "yerr"] = [own["value"] - own["low"], own["high"] - own["value"]]
        ax.errorbar(x, y, **({"elinewidth": 0.7, "capthick": 0.7} | options))
    for row in rows[far].itertuples():
        _far(ax, row, chart)
    values, places = (ax.xaxis, ax.yaxis) if across else (ax.yaxis, ax.xaxis)
    ax.set(**{"xlabel" if across else "ylabel": chart.value, "ylabel" if across else "xlabel": chart.place})
    if chart.ends:
        ax.set(**{"xlim" if across else "ylim": chart.ends})
    if chart.log:
        log(ax, "x" if across else "y", few(room) if across else 6, room)
    elif across:
        values.set_major_locator(MaxNLocator(few(room), steps=[1, 2, 5, 10], prune="both"))
    if across:
        ax.set(yticks=range(len(chart.names)), yticklabels=chart.names, ylim=(len(chart.names) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        ax.grid("neutral" not in rows, axis="x")
        ax.grid(False, axis="y")
    elif chart.log_place:
        if chart.marked:
            ax.axvline(chart.marked, **MARKED)
        log(ax, "x", few(room), room - 0.5)
    elif chart.ticks:
        ax.set(xticks=range(len(chart.ticks)), xticklabels=chart.ticks, xlim=(-0.5, len(chart.ticks) - 0.5))
        ax.tick_params(axis="x", length=0)
        for place in range(1, len(chart.ticks)):
            ax.axvline(place - 0.5, color=GREY, linewidth=0.4, linestyle=":", zorder=0)
    else:
        places.set_major_locator(MaxNLocator(few(room), steps=[1, 2, 5, 10]))
    if "neutral" in rows:
        _sides(ax, rows, chart.better)


def mark(look: Look, hollow: bool = False, published: bool = False) -> dict[str, Any]:
    """Return how to draw the points of a group: filled, hollow, or as crosses if published."""
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": look.line, **EDGE}
    if hollow:
        style |= {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": look.colour}
    if published:
        style |= {"linestyle": "", "marker": "x", "markeredgecolor": look.colour, "markeredgewidth": 1.0}
    return style


def _far(ax: Axes, row: Any, chart: Chart) -> None:
    """Draw a value beyond the axis on its edge, with the number and its interval beside it."""
    low, high = chart.ends or (-np.inf, np.inf)
    edge, side, inwards = (high, "right", -5) if row.value > high else (low, "left", 5)
    at, look = (edge, row.place) if chart.names else (row.place, edge), chart.looks[row.group]
    ax.plot(*at, clip_on=False, **mark(look, row.hollow, row.published))
    ax.annotate(
        at_edge(row, chart),
        at,
        xytext=(inwards, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=AT_EDGE * points_of(rcParams["font.size"]),
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3},
    )


def _levels(ax: Axes, rows: pd.DataFrame, across: bool, looks: Mapping[str, Look]) -> None:
    line, span = (ax.axvline, ax.axvspan) if across else (ax.axhline, ax.axhspan)
    for row in rows.itertuples():
        if row.low < row.high:
            span(row.low, row.high, color=BLACK, alpha=0.08, linewidth=0, zorder=0)
        if pd.notna(row.value):
            look = looks[row.group]
            colour, style = look.colour, look.line
            if row.group == DENSE:
                colour, style = DENSE_LINE["color"], DENSE_LINE["linestyle"]
            if row.published:
                style = ":"
            line(row.value, color=colour, linewidth=DENSE_LINE["linewidth"], linestyle=style)


def _sides(ax: Axes, rows: pd.DataFrame, better: int) -> None:
    low, high = ax.get_xlim()
    shared = rows["neutral"].nunique(dropna=False) == 1
    if shared:
        ax.axvline(rows["neutral"].iloc[0], color=GREY, linewidth=0.8, zorder=1)
    for row in rows.drop_duplicates("place").itertuples():
        lines = row.place - 0.5, row.place + 0.5
        if not shared:
            ax.plot([row.neutral] * 2, lines, color=GREY, linewidth=0.8, zorder=1)
        if better and pd.notna(row.low):
            side = (low, row.neutral) if better < 0 else (row.neutral, high)
            ax.fill_betweenx(lines, *side, color=SHADE, zorder=0, linewidth=0)
    ax.set_xlim(low, high)


def few(room: float) -> int:
    """Return the number of ticks for an axis of `room` inches: at most five, and fewer in a large font."""
    return max(2, round(min(5.0, room / 0.4) * 8 / points_of(rcParams["font.size"])))


def log(ax: Axes, which: str, most: int = 5, room: float = np.inf) -> None:
    """Make the axis `x` or `y` of finished axes logarithmic, with round numbers at its ticks.

    Long numbers are powers of ten. Ticks of a horizontal axis of `room` inches do not overlap.
    """
    getattr(ax, f"set_{which}scale")("log", nonpositive="clip")
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    short, ticks = high < LONG and low >= 1e-3, log_ticks(low, high, most)
    apart: list[float] = []
    for tick in ticks:
        wide = inches(f"{tick:,.10g} ", rcParams["xtick.labelsize"]) * (which == "x" and short)
        if not apart or room * log10(tick / apart[-1]) >= wide * log10(high / low):
            apart.append(tick)
    axis.set_ticks(apart)
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}") if short else LogFormatterMathtext())
    axis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` round numbers between the ends of a logarithmic axis, both positive."""
    if high < 5 * low:
        ticks = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    else:
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        digits = (1, 2, 5) if high < 1000 * low else (1,)
        ticks = [digit * 10.0**power for power in powers for digit in digits]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: max(1, ceil(len(inside) / most))]


def headline(ax: Axes, text: str, left: float = 0.0, size: str = "medium") -> None:
    """Set a title that may be wider than its axes, and begins at the share `left` of the figure's width."""
    # The layout would move the axes apart for it; an empty title of as many lines keeps the room above.
    ax.set_title("\n" * text.count("\n") + " ", fontsize=size, loc="left")
    figure = cast(Figure, ax.get_figure(root=True))
    place = offset_copy(blended_transform_factory(figure.transFigure, ax.transAxes), figure, y=0.06)
    ax.text(left + 0.01, 1, text, transform=place, fontsize=size, va="bottom").set_in_layout(False)


def inches(text: str, size: float | str = "small") -> float:
    """Return about how many inches wide a line of text is; a letter is 0.6 of the font size."""
    return 0.6 * len(text) * points_of(size) / 72


def points_of(size: float | str) -> float:
    """Return a font size in points; words such as `small` are relative to the style's."""
    return FontProperties(size=size).get_size_in_points()
