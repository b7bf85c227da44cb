"""Axes in rows with their names, and legends."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import rcParams, style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from hfprune.cells import DENSE
from hfprune.report.charts import ARROWS, Chart, at_edge, beyond
from hfprune.report.drawing.marks import (
    AT_EDGE,
    DENSE_LINE,
    GREY,
    KINDS,
    draw,
    headline,
    inches,
    mark,
    points_of,
)
from hfprune.report.style import Look

THEME = Path(__file__).with_name("theme.mplstyle")
NAMED, UNNAMED = 0.8, 1.5  # inches that a panel needs, with lines by name or with an axis of its own


def theme(over: Mapping[str, Any] | None = None) -> AbstractContextManager[None]:
    """Return a context with the suite's style and the settings `over`, independent of a user's matplotlibrc."""
    return style.context(["default", THEME, dict(over or {})])


def full() -> float:
    """Return the width of a wide figure in inches: that of the style."""
    return float(rcParams["figure.figsize"][0])


def wrapped(text: str, width: float, size: float | str = "medium") -> str:
    """Break a text into lines of about `width` inches, and keep its own line breaks."""
    letters = max(8, int(width / inches("n", size)))
    return "\n".join("\n".join(wrap(line, letters, break_long_words=False)) for line in text.split("\n"))


def framed(width: float, height: float, least: float = 0.0) -> Figure:
    """Return an empty figure of this size in inches, with room for letters at the edges.

    It is no wider than the style allows, and no taller unless it needs the height `least` to be legible.
    """
    width, height = min(width, full()), max(min(height, rcParams["figure.figsize"][1]), least)
    margin = 0.03 / width
    layout = ConstrainedLayoutEngine(rect=(margin, 0, 1 - 2 * margin, 1))
    return Figure(figsize=(width, height), layout=layout)


def sheet(
    rows: Sequence[tuple[str, Sequence[Chart | str]]],
    title: str = "",
    width: float | None = None,
    height: float = 1.8,
    entries: Sequence[Artist] = (),
) -> Figure:
    """Return a figure of charts, or of sentences, in rows with their names, and a legend.

    A row wider than the figure continues below. Names of lines stand beside the first of the charts that share
    them. `height` is that of a chart without names of lines, in inches; the others' follows from their number.
    """
    width = min(width or full(), full())
    drawn = [cell for cell in chain(*(row for _, row in rows)) if isinstance(cell, Chart)]
    beside = max(
        (inches(name, rcParams["ytick.labelsize"]) for chart in drawn for name in chart.names), default=0.0
    )
    own = any(len({tuple(cell.names) for cell in row if isinstance(cell, Chart)}) > 1 for _, row in rows)
    longest = max(len(row) for _, row in rows)
    least = (NAMED if all(chart.names for chart in drawn) else UNNAMED) + beside * own
    least = max(least, *(_narrowest(chart, beside * own) for chart in drawn), 0)
    most = min(longest, max(1, int((width - beside * (not own)) / least)))
    most = ceil(longest / ceil(longest / most))
    room = (width - beside * (most if own else 1)) / most - 0.15
    parts = [
        (name if not start else "", [_fitted(cell, room, width / most) for cell in row[start : start + most]])
        for name, row in rows
        for start in range(0, len(row), most)
    ]
    heights = [max(_height(cell, height) for cell in line) for _, line in parts]
    named = [name and wrapped(name, width - 0.2) for name, _ in parts]
    titles = sum(name.count("\n") + bool(name) for name in named) * points_of("medium") / 40
    legible = titles + sum(max(_height(cell, 0.7 * height, 1.0) for cell in line) for _, line in parts)
    figure = framed(width, sum(heights) + titles, legible)
    axes = figure.subplots(len(parts), most, squeeze=False, height_ratios=heights)
    for line_axes, name, (_, line) in zip(axes, named, parts, strict=True):
        shown: Sequence[str] = ()
        for place, (ax, cell) in enumerate(zip_longest(line_axes, line)):
            if not isinstance(cell, Chart):
                say(ax, cell or "")
                continue
            draw(ax, cell if cell.names != shown else replace(cell, names=[""] * len(shown)), room)
            shown = cell.names
            if cell.heading and shown:  # names of lines leave little room
                headline(ax, cell.heading, place / most, "small")
            else:
                ax.set_title(cell.heading, loc="left", fontsize="small")
        if name:
            headline(line_axes[0], name)
    axis_labels = "".join(chart.value + chart.place for chart in drawn)
    arrows = ", ".join(
        f"{arrow} {better} is better" for better, arrow in ARROWS.items() if arrow in axis_labels
    )
    legend(figure, [*_entries(drawn), *entries], ". ".join(filter(None, [title, arrows])), legible)
    return figure


def _narrowest(chart: Chart, names: float) -> float:
    """Return the inches that a chart needs for numbers at its edges beside its names, or for a heading's word."""
    texts = (at_edge(row, chart) for row in chart.rows[beyond(chart)].itertuples())
    size = AT_EDGE * points_of("medium")
    numbers = (0.25 + TextPath((0, 0), text, size).get_extents().width / 72 for text in texts)
    words = (0.6 + inches(word, "small") for word in chart.heading.split() if not chart.names)
    return max(max(numbers, default=0.0) + names, *words, 0.0)


def _fitted(cell: Chart | str, room: float, panel: float) -> Chart | str:
    if isinstance(cell, str):
        return wrapped(cell, room)
    value = wrapped(cell.value, max(room, NAMED) if cell.names else 1.6)
    # Above lines without names it begins at the axis.
    heading = wrapped(cell.heading, panel - (0.1 if cell.names else 0.6), "small")
    return replace(cell, value=value, place=wrapped(cell.place, room - 0.4), heading=heading)


def _height(cell: Chart | str, height: float, most: float = np.inf) -> float:
    """Return the height of a cell in inches: `height` without names, else by its lines, at most `most` tall."""
    if isinstance(cell, str) or not cell.names:
        return height if isinstance(cell, Chart) else 0.5
    more = 0.15 * cell.value.count("\n") + 0.14 * (cell.heading.count("\n") + bool(cell.heading))
    lines = 0.15 * min(cell.tall, most) * len(cell.names) + 0.45  # with their label and ticks
    return (lines + more) * points_of(rcParams["font.size"]) / 8


def say(ax: Axes, text: str) -> None:
    """Set a sentence in the middle of axes that are not drawn."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)


def _entries(charts: Iterable[Chart]) -> list[Artist]:
    """Return the legend's entries of methods in the order of their looks; the dense model is a line unless marked.

    A method that has only marks of one kind, such as hollow ones, has that mark.
    """
    levels: set[str] = set()
    groups: set[str] = set()
    looks: dict[str, Look] = {}
    other: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for chart in charts:
        level, marked = (chart.rows[chart.rows["place"].isna() == at] for at in (True, False))
        for kind, groups_of in other.items():
            groups_of |= {*(marked[~marked[kind].astype(bool)] if kind in marked else marked)["group"]}
        levels |= {*level.dropna(subset="value")["group"]}
        own = {*marked["group"]}
        groups |= own if not {chart.looks[group].label for group in own} <= {*chart.names} else set()
        looks |= chart.looks
    return [
        Line2D([], [], label=look.label, **DENSE_LINE)
        if method == DENSE and method not in groups - levels
        else Line2D(
            [], [], label=look.label, **mark(look, *(method in groups - other[kind] for kind in KINDS))
        )
        for method, look in looks.items()
        if method in levels | groups
    ]


def legend(figure: Figure, handles: Sequence[Artist], title: str = "", least: float = 0.0) -> None:
    """Set a legend below the axes; the figure grows by its height, beyond a page only to keep `least`."""
    if not handles and not title:
        return
    room, size = 0.95 * figure.get_figwidth(), points_of(rcParams["legend.fontsize"])
    title = wrapped(title, room, size)
    # The sample of an entry and the gaps beside it.
    widest = max((inches(str(handle.get_label()), size) + 5 * size / 72 for handle in handles), default=1)
    rows = ceil(len(handles) / max(1, int(room / widest)))
    height = (rows + title.count("\n") + bool(title)) * 1.55 * size / 72 + 0.1
    page = rcParams["figure.figsize"][1]
    figure.set_figheight(max(min(figure.get_figheight() + height, page), least + height))
    columns = ceil(len(handles) / max(rows, 1)) or 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)
