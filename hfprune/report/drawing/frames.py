"""Frames of figures: axes in rows and columns with their names, and legends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform, blended_transform_factory, offset_copy

from hfprune.report.charts import Chart, focus
from hfprune.report.drawing.lettering import fit, inches, points_of
from hfprune.report.drawing.marks import EDGE, GREY, LEVEL, draw
from hfprune.report.style import Look
from hfprune.results import DENSE

COLUMN_WIDTH = 3.3  # inches, of a two-column page; the theme has the width and the height of a page
NAMED, UNNAMED = 0.8, 1.5  # inches that a panel needs, with lines by name or with an axis of its own
LINE = 0.15  # inches of a line of a figure with one line a method, in letters of 8 points


def full() -> float:
    """Return the width of a wide figure in inches: that of the style."""
    return float(rcParams["figure.figsize"][0])


def column(times: float = 1.0) -> float:
    """Return the width in inches of a figure that fits a column, or so many of them."""
    return min(times * COLUMN_WIDTH, full())


def at_one_ratio(values: pd.DataFrame) -> pd.DataFrame:
    """Return values as they are, or in a column those of one ratio, since lines would be too close there."""
    return values if full() > 5 else values[values["ratio"].isin([0.0, focus(values)])]


def across(panel: float, beside: float = 0.0) -> int:
    """Return how many panels of this width in inches fit beside each other, and beside something else."""
    return max(1, int((full() - beside) / panel))


def grid(
    rows: Sequence[str], columns: Sequence[str], width: float, height: float | Sequence[float], **share: Any
) -> tuple[Figure, np.ndarray]:
    """Return axes in rows and columns; sizes in inches.

    Columns are named on top, and several rows on the right; where columns have no names, above.
    """
    heights = [height] * len(rows) if isinstance(height, int | float) else [*height]
    above = any(rows) and len(rows) > 1 and (not any(columns) or len(columns) == 1)
    figure = framed(width, sum(heights) + 0.5 + 0.2 * len(rows) * above)
    axes = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights, **share)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, loc="left")
    if above:
        for ax, name in zip(axes[:, 0], rows, strict=True):
            title = ", ".join(filter(None, (name, *columns)))
            left = figure.transSubfigure if width < 5 else None  # names of lines may leave little room
            ax.set_title("", loc="left")
            headline(ax, fit(title, width - 0.2), rcParams["axes.titlesize"], left)
    elif len(rows) > 1:
        for ax, name, tall in zip(axes[:, -1], rows, heights, strict=True):
            strip(ax, name, max(tall - 0.3, 0.5))
    return figure, axes


def wrap(names: Sequence[str], width: float, height: float, most: int = 3) -> tuple[Figure, list[Axes]]:
    """Return one axes per name, at most so many in a row; a single one is `width` inches wide and has no name."""
    columns = min(len(names), most, across(UNNAMED))
    rows = ceil(len(names) / columns)
    figure = framed(width if len(names) == 1 else full(), height * rows + 0.5)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(names))]
    for ax, name in zip(axes, names, strict=True) if len(names) > 1 else ():
        if columns == 1:  # names of lines may leave little room
            headline(ax, fit(name, width - 0.2), rcParams["axes.titlesize"], figure.transSubfigure)
        else:
            ax.set_title(fit(name, figure.get_figwidth() / columns - 0.5), loc="left")
    return figure, axes


def panels(
    charts: Mapping[str, Chart],
    width: float | None = None,
    entries: Sequence[Artist] = (),
    title: str = "",
) -> Figure:
    """Return a figure of charts by name, all with lines by name or none.

    Args:
        charts: one or several; a single one has no name.
        width: in inches, of a single chart; by default a column's.
        entries: of the legend, beside the groups of the charts.
        title: of the legend.
    """
    most = max(len(chart.names) for chart in charts.values())
    tall, beside = lines_height(most) if most else 2.0, 1 + across(2.5) // 2 if most else 3
    figure, axes = wrap([*charts], width or column(), tall, beside)
    for ax, chart in zip(axes, charts.values(), strict=True):
        draw(ax, chart)
    legend(figure, [*unnamed(charts.values()), *entries], title)
    return figure


def sheet(
    cells: Sequence[Sequence[Chart | str]],
    rows: Sequence[str],
    height: float | Sequence[float],
    title: str = "",
    width: float | None = None,
    **share: Any,
) -> Figure:
    """Return a figure of charts, or of sentences, in rows as `grid` has them, with a legend.

    A row that is wider than the figure goes on below itself. The first chart of each has the names of lines.

    Args:
        cells: by row.
        rows: their names.
        height: of each row in inches.
        title: of the legend.
        width: of the figure in inches; by default all there is.
        share: as `Figure.subplots` takes it.
    """
    drawn = [cell for cell in chain(*cells) if not isinstance(cell, str)]
    size = points_of(rcParams["ytick.labelsize"])
    beside = max((inches(name, size) for chart in drawn for name in chart.names), default=0.0)
    most = min(across(NAMED if beside else UNNAMED, beside), max(map(len, cells)))
    most = ceil(max(map(len, cells)) / ceil(max(map(len, cells)) / most))
    room = ((width or full()) - beside) / most - 0.1

    def fitted(cell: Chart | str, tall: float) -> Chart | str:
        if isinstance(cell, str):
            return fit(cell, room, rcParams["font.size"])
        # Values stand along the height of a chart that has no names, less its ticks and their label.
        size = rcParams["axes.labelsize"]
        title = fit(cell.value.title, room if cell.names else max(tall - 0.3, 0.8), size)
        # Below such a chart, less the values' ticks and label.
        below = cell.place.title if cell.names else fit(cell.place.title, room - 0.5, size)
        value, place = replace(cell.value, title=title), replace(cell.place, title=below)
        return replace(cell, value=value, place=place)

    def lines_of(row: Sequence[Chart | str]) -> int:
        return max((cell.value.title.count("\n") for cell in row if isinstance(cell, Chart)), default=0)

    heights = [height] * len(rows) if isinstance(height, int | float) else [*height]
    parts = [
        (name if not start else "", line, tall + 0.15 * (lines_of(line) if beside else 0))
        for row, name, tall in zip(cells, rows, heights, strict=True)
        for start in range(0, len(row), most)
        if (line := [fitted(cell, tall) for cell in row[start : start + most]])
    ]
    names, lines, heights = ([*part] for part in zip(*parts, strict=True))
    names = names if len(rows) > 1 else [""] * len(names)
    figure, axes = grid(names, [""] * most, width or full(), heights, **share)
    for i, line in enumerate(lines):
        first = next((place for place, cell in enumerate(line) if not isinstance(cell, str)), 0)
        for place, (ax, cell) in enumerate(zip(axes[i], [*line, *[""] * (most - len(line))], strict=True)):
            if isinstance(cell, str):
                say(ax, cell)
                continue
            named = cell.names if place == first else [""] * len(cell.names)
            draw(ax, replace(cell, names=named), room if cell.names else None)
    for ax in axes[:-1].flat if "sharex" in share else ():
        ax.set_xlabel("")
    legend(figure, unnamed(drawn), title)
    return figure


def framed(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with room at the edges for letters that reach them.

    It is no wider and no taller than the style allows.
    """
    width, height = min(width, full()), min(height, rcParams["figure.figsize"][1])
    margin = 0.03 / width
    return Figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(margin, 0, 1 - 2 * margin, 1))
    )


def lines_height(count: int) -> float:
    """Return the height in inches of axes with this many lines, with their label and ticks."""
    return (LINE * count + 0.45) * points_of(rcParams["font.size"]) / 8


def width(columns: Sequence[Any]) -> float:
    """Return the width in inches of a figure with these columns."""
    return column() if len(columns) == 1 else full()


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
    figure.set_figheight(min(figure.get_figheight() + height, rcParams["figure.figsize"][1]))
    columns = ceil(len(handles) / max(rows, 1)) or 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)


def sentence(text: str) -> Figure:
    """Return a figure of one sentence."""
    width = column() if len(text) < 50 else full()
    figure = Figure(figsize=(width, 0.8))
    say(figure.subplots(), fit(text, 0.9 * width))
    return figure


def say(ax: Axes, text: str) -> None:
    """Replace a panel by words."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
