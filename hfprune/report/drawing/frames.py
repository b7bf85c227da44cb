"""Frames of figures: axes in rows and columns with their names, and legends."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform, blended_transform_factory, offset_copy

from hfprune.report.charts import Chart
from hfprune.report.drawing.lettering import fit, inches, points_of
from hfprune.report.drawing.marks import EDGE, GREY, LEVEL, draw
from hfprune.report.style import COLUMN_WIDTH, FULL_WIDTH, Look
from hfprune.results import DENSE

LINE = 0.15  # inches of a line of a figure with one line a method, in letters of 8 points


def grid(
    rows: Sequence[str], columns: Sequence[str], width: float, height: float | Sequence[float], **share: Any
) -> tuple[Figure, np.ndarray]:
    """Return axes in rows and columns; sizes in inches.

    Columns are named on top, and several rows on the right; where columns have no names, above.
    """
    heights = [height] * len(rows) if isinstance(height, int | float) else [*height]
    above = any(rows) and len(rows) > 1 and not any(columns)
    figure = framed(width, sum(heights) + 0.5 + 0.2 * len(rows) * above)
    axes = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights, **share)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, loc="left")
    if above:
        for ax, name in zip(axes[:, 0], rows, strict=True):
            headline(ax, name, rcParams["axes.titlesize"])
    elif len(rows) > 1:
        for ax, name, tall in zip(axes[:, -1], rows, heights, strict=True):
            strip(ax, name, max(tall - 0.3, 0.5))
    return figure, axes


def wrap(names: Sequence[str], width: float, height: float, across: int = 3) -> tuple[Figure, list[Axes]]:
    """Return one axes per name, `across` in a row; a single one is `width` inches wide and has no name."""
    columns = min(len(names), across)
    rows = ceil(len(names) / columns)
    figure = framed(width if columns == 1 else FULL_WIDTH, height * rows + 0.5)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(names))]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(fit(name, figure.get_figwidth() / columns - 0.5) if len(names) > 1 else "", loc="left")
    return figure, axes


def panels(
    charts: Mapping[str, Chart],
    width: float = COLUMN_WIDTH,
    height: float = 2.0,
    entries: Sequence[Artist] = (),
    title: str = "",
) -> Figure:
    """Return a figure of charts by name, all with lines by name or none.

    Args:
        charts: one or several; a single one has no name.
        width: in inches, of a single chart.
        height: in inches, of a chart without lines by name.
        entries: of the legend, beside the groups of the charts.
        title: of the legend.
    """
    most = max(len(chart.names) for chart in charts.values())
    figure, axes = wrap([*charts], width, lines_height(most) if most else height, across=2 if most else 3)
    for ax, chart in zip(axes, charts.values(), strict=True):
        draw(ax, chart)
    legend(figure, [*unnamed(charts.values()), *entries], title)
    return figure


def sheet(
    cells: Sequence[Sequence[Chart | str]],
    rows: Sequence[str],
    columns: Sequence[str],
    width: float,
    height: float | Sequence[float],
    title: str = "",
    **share: Any,
) -> Figure:
    """Return a figure of charts, or of sentences, in rows and columns as `grid` has them, with a legend."""
    figure, axes = grid(rows, columns, width, height, **share)
    for ax, cell in zip(axes.flat, chain(*cells), strict=True):
        if isinstance(cell, str):
            say(ax, cell)
        else:
            draw(ax, cell)
    for ax in axes[:-1].flat if "sharex" in share else ():
        ax.set_xlabel("")
    legend(figure, unnamed(cell for cell in chain(*cells) if not isinstance(cell, str)), title)
    return figure


def framed(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with room at the edges for letters that reach them."""
    margin = 0.03 / width
    return Figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(margin, 0, 1 - 2 * margin, 1))
    )


def lines_height(count: int) -> float:
    """Return the height in inches of axes with this many lines, with their label and ticks."""
    return (LINE * count + 0.45) * points_of(rcParams["font.size"]) / 8


def width(columns: Sequence[Any]) -> float:
    """Return the width in inches of a figure with these columns."""
    return COLUMN_WIDTH if len(columns) == 1 else FULL_WIDTH


def headline(ax: Axes, text: str, size: float | str, x: Transform | None = None) -> None:
    """Set a title that may be longer than its axes are wide; it begins at their left, or at 0.02 of `x`."""
    # The layout would move the axes apart for it; an empty title of as many lines keeps the room above.
    ax.set_title("\n" * text.count("\n") + " ", fontsize=size)
    figure = ax.get_figure(root=True)
    place = offset_copy(blended_transform_factory(x or ax.transAxes, ax.transAxes), figure, y=0.06)
    ax.text(0.02 if x else 0, 1, text, transform=place, fontsize=size, va="bottom").set_in_layout(False)


def strip(ax: Axes, name: str, height: float) -> None:
    """Name a row of axes of this height in inches at the right of its last one."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "rotation": 270, "va": "center", "ma": "center"}
    ax.annotate(fit(name, height, rcParams["font.size"]), (1.03, 0.5), **place)


def xlabel(axes: np.ndarray, label: str) -> None:
    """Label the x axes of the last row."""
    # Not supxlabel: a legend outside the axes would cover it.
    for ax in axes[-1]:
        ax.set_xlabel(label)


def unnamed(charts: Iterable[Chart]) -> list[Artist]:
    """Return legend entries of the groups that charts do not name at an axis."""
    groups: set[str] = set()
    looks: dict[str, Look] = {}
    for chart in charts:
        rows = chart.rows[chart.rows["place"].isna()] if chart.names else chart.rows
        groups |= {*rows["group"]}
        looks |= chart.looks
    return handles(groups, looks)


def handles(methods: Iterable[str], looks: Mapping[str, Look], marked: Iterable[str] = ()) -> list[Artist]:
    """Return legend entries in the methods' order; the dense model is a level unless it is in `marked`."""
    present = set(methods)
    return [
        Line2D([], [], linestyle="--", label=look.label, **LEVEL)
        if method == DENSE and method not in marked
        else Line2D(
            [], [], color=look.colour, marker=look.marker, linestyle=look.line, label=look.label, **EDGE
        )
        for method, look in looks.items()
        if method in present
    ]


def legend(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, in as few rows as the width allows, and make room for it."""
    if not handles and not title:
        return
    room = 0.95 * figure.get_figwidth()
    title = fit(title, room, rcParams["legend.title_fontsize"] or rcParams["legend.fontsize"])
    size = points_of(rcParams["legend.fontsize"])
    # The sample of an entry and the gaps beside it.
    gaps = rcParams["legend.handletextpad"] + rcParams["legend.columnspacing"]
    beside = size / 72 * (rcParams["legend.handlelength"] + gaps)
    widest = beside + max((inches(str(handle.get_label()), size) for handle in handles), default=0)
    rows = ceil(len(handles) / max(1, int(room / widest)))
    height = (rows + title.count("\n") + bool(title)) * 1.55 * size / 72 + 0.1
    figure.set_figheight(figure.get_figheight() + height)
    columns = ceil(len(handles) / max(rows, 1)) or 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)


def sentence(text: str) -> Figure:
    """Return a figure of one sentence."""
    figure = Figure(figsize=(COLUMN_WIDTH if len(text) < 50 else FULL_WIDTH, 0.8))
    say(figure.subplots(), text)
    return figure


def say(ax: Axes, text: str) -> None:
    """Replace a panel by words."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
