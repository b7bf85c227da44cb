"""The marks of charts in axes of matplotlib."""

from math import ceil, floor, log10
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory, offset_copy

from hfprune.report.charts import LONG, Chart, at_edge

BLACK, GREY, SHADE = "black", "#8C8C8C", "#EAF2F8"
# Separates markers that touch.
EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.3}
LEVEL: dict[str, Any] = {"color": BLACK, "linewidth": 0.8}  # the dense model


def draw(ax: Axes, chart: Chart, room: float = 3.0) -> None:
    """Draw a chart, and label its axes, of which that across has so many inches."""
    across, rows = bool(chart.names), chart.rows
    rows = rows.assign(**{name: False for name in ("hollow",) if name not in rows})
    _levels(ax, rows[rows["place"].isna()], across)
    rows = rows[rows["place"].notna()]
    low, high = chart.ends or (-np.inf, np.inf)
    far = (rows["value"] < low) | (rows["value"] > high)
    for (group, hollow), own in rows[~far].groupby(["group", "hollow"], sort=False):
        x, y = (own["value"], own["place"]) if across else (own["place"], own["value"])
        options: dict[str, Any] = {"linestyle": ""} if across or hollow else {}
        options |= (
            {"markerfacecolor": "white", "markeredgecolor": chart.looks[group].colour} if hollow else {}
        )
        if own["low"].notna().any():
            options["xerr" if across else "yerr"] = [own["value"] - own["low"], own["high"] - own["value"]]
        look = chart.looks[group]
        style = {"color": look.colour, "marker": look.marker, "linestyle": look.line, **EDGE}
        ax.errorbar(x, y, **(style | {"elinewidth": 0.7, "capthick": 0.7} | options))
    for row in rows[far].itertuples():
        edge, side = (high, "right") if row.value > high else (low, "left")
        size = 0.75 * points_of(rcParams["font.size"])
        where: dict[str, Any] = {"ha": side, "va": "center", "fontsize": size}
        x, y = (edge, row.place) if across else (row.place, edge)
        ax.text(x, y, at_edge(row.value, edge), **where)
    values, places = (ax.xaxis, ax.yaxis) if across else (ax.yaxis, ax.xaxis)
    ax.set(**{"xlabel" if across else "ylabel": chart.value, "ylabel" if across else "xlabel": chart.place})
    if chart.ends:
        ax.set(**{"xlim" if across else "ylim": chart.ends})
    if chart.log:
        log(ax, "x" if across else "y", few(room) if across else 6)
    elif across:
        values.set_major_locator(MaxNLocator(few(room), steps=[1, 2, 5, 10], prune="both"))
    if across:
        ax.set(yticks=range(len(chart.names)), yticklabels=chart.names, ylim=(len(chart.names) - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        ax.grid("neutral" not in rows, axis="x")
        ax.grid(False, axis="y")
    elif chart.log_place:
        log(ax, "x", few(room))
    elif len(chart.ticks):
        gap = min(np.diff(chart.ticks), default=10) / 2
        places.set_ticks(chart.ticks, [f"{tick:.3g}" for tick in chart.ticks])
        ax.set_xlim(chart.ticks[0] - gap, chart.ticks[-1] + gap)
    else:
        places.set_major_locator(MaxNLocator(few(room), steps=[1, 2, 5, 10]))
    if "neutral" in rows:
        _sides(ax, rows, chart.better)


def _levels(ax: Axes, rows: pd.DataFrame, across: bool) -> None:
    line, span = (ax.axvline, ax.axvspan) if across else (ax.axhline, ax.axhspan)
    for row in rows.itertuples():
        if row.low < row.high:
            span(row.low, row.high, color=BLACK, alpha=0.08, linewidth=0, zorder=0)
        if pd.notna(row.value):
            line(row.value, linestyle=":" if row.hollow else "--", **LEVEL)


def _sides(ax: Axes, rows: pd.DataFrame, better: int) -> None:
    low, high = ax.get_xlim()
    alike = rows["neutral"].nunique(dropna=False) == 1
    if alike:
        ax.axvline(rows["neutral"].iloc[0], color=GREY, linewidth=0.8, zorder=1)
    for row in rows.drop_duplicates("place").itertuples():
        lines = row.place - 0.5, row.place + 0.5
        if not alike:
            ax.plot([row.neutral] * 2, lines, color=GREY, linewidth=0.8, zorder=1)
        if better and pd.notna(row.low):
            side = (low, row.neutral) if better < 0 else (row.neutral, high)
            ax.fill_betweenx(lines, *side, color=SHADE, zorder=0, linewidth=0)
    ax.set_xlim(low, high)


def few(room: float) -> int:
    """Return the number of ticks for an axis of so many inches: five at most, and fewer in large letters."""
    return max(2, round(min(5.0, room / 0.4) * 8 / points_of(rcParams["font.size"])))


def log(ax: Axes, which: str, most: int = 5) -> None:
    """Make the axis `x` or `y` of finished axes logarithmic, with round numbers at its ticks.

    They are powers of ten if they are long.
    """
    getattr(ax, f"set_{which}scale")("log", nonpositive="clip")
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    axis.set_ticks(log_ticks(low, high, most))
    short = high < LONG and low >= 1e-3
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}") if short else LogFormatterMathtext())
    axis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int) -> list[float]:
    if high < 5 * low:
        found = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    else:
        powers, digits = (
            range(floor(log10(low)), ceil(log10(high)) + 1),
            (1, 2, 5) if high < 1000 * low else (1,),
        )
        found = [digit * 10.0**power for power in powers for digit in digits]
    inside = [tick for tick in found if low <= tick <= high]
    return inside[:: max(1, ceil(len(inside) / most))]


def headline(ax: Axes, text: str, left: float = 0.0, size: str = "medium") -> None:
    """Set a title that may be longer than its axes are wide; it begins at a share of the figure's width."""
    # The layout would move the axes apart for it; an empty title of as many lines keeps the room above.
    ax.set_title("\n" * text.count("\n") + " ", fontsize=size, loc="left")
    figure = cast(Figure, ax.get_figure(root=True))
    place = offset_copy(blended_transform_factory(figure.transFigure, ax.transAxes), figure, y=0.06)
    ax.text(left + 0.01, 1, text, transform=place, fontsize=size, va="bottom").set_in_layout(False)


def points_of(size: float | str) -> float:
    return FontProperties(size=size).get_size_in_points()
