"""Parts that figures share: axes in rows and columns, marks, legends, and sentences in place of a figure."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullLocator
from matplotlib.transforms import Transform, blended_transform_factory, offset_copy

from hfprune.analysis.averages import spread
from hfprune.report.figures.lettering import fit, inches, points_of
from hfprune.report.intervals import ends
from hfprune.report.style import COLUMN_WIDTH, FULL_WIDTH, Look, recovery_label
from hfprune.results import DENSE

FOCUS = 0.2  # figures with a single ratio show this one or the nearest; the paper's first
LINE = 0.15  # inches of a line of a figure with one line a method, in letters of 8 points
BLACK, GREY, SHADE = "black", "#8C8C8C", "#EAF2F8"
# Separates markers that touch.
EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4}
HOLLOW: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "white"}  # published points
LEVEL: dict[str, Any] = {"color": BLACK, "linewidth": 0.8}  # the dense model


def grid(
    rows: Sequence[str], columns: Sequence[str], width: float, height: float | Sequence[float], **share: Any
) -> tuple[Figure, np.ndarray]:
    """Return axes in rows and columns; sizes in inches.

    Columns are named on top, and rows, if there are several, on the right; where columns have no names, above.
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


def framed(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with room at the edges for letters that reach them."""
    margin = 0.03 / width
    return Figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(margin, 0, 1 - 2 * margin, 1))
    )


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


def small() -> float:
    """Return the size in points of letters that may be smaller than the rest."""
    return 0.75 * points_of(rcParams["font.size"])


def xlabel(axes: np.ndarray, label: str) -> None:
    """Label the x axes of the last row."""
    # Not supxlabel: a legend outside the axes would cover it.
    for ax in axes[-1]:
        ax.set_xlabel(label)


def facets(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split into rows of facets: one per model, and per recovery if there are several."""
    by = ["model", "recovery"] if values["recovery"].nunique() > 1 else ["model"]
    order = values.sort_values(by, key=lambda part: part.map(lambda name: (name != "none", name)))
    return {
        ", ".join([key[0], *map(recovery_label, key[1:])]): facet
        for key, facet in order.groupby(by, sort=False)
    }


def pruned(values: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    """Return the methods that prune, in their order."""
    return [method for method in looks if method != DENSE and method in set(values["method"])]


def ratios(values: pd.DataFrame) -> list[float]:
    """Return the ratios of pruned models, or of the dense model if nothing is pruned yet."""
    ratios = sorted(set(values["ratio"]))
    return [ratio for ratio in ratios if ratio > 0] or ratios


def focus(values: pd.DataFrame) -> float:
    """Return the ratio of pruned models that is nearest to `FOCUS`."""
    return min(ratios(values), key=lambda ratio: abs(ratio - FOCUS))


def percents(ratios: list[float]) -> list[str]:
    """Return the titles of columns that are ratios."""
    return [f"{100 * ratio:.3g}% removed" for ratio in ratios]


def width(facets: Sequence[Any]) -> float:
    """Return the width in inches of a figure with these columns."""
    return COLUMN_WIDTH if len(facets) == 1 else FULL_WIDTH


def dodge(count: int, width: float) -> np.ndarray:
    """Return offsets that set `count` marks side by side within `width`, around 0."""
    return (np.arange(count) - (count - 1) / 2) * width / max(count, 1)


def points(ax: Axes, look: Look, x: pd.Series, y: pd.Series, **options: Any) -> None:
    """Draw a method's points, with `xerr` and `yerr` of `Axes.errorbar` as bars."""
    style = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "elinewidth": 0.7, **EDGE}
    ax.errorbar(x, y, **(style | options))


def against_ratio(
    ax: Axes,
    values: pd.DataFrame,
    looks: dict[str, Look],
    printed: pd.DataFrame | None = None,
    logarithmic: bool = False,
) -> None:
    """Draw one line per method over the ratios, spread at each ratio, and the dense model as a level.

    Published numbers (`printed`) at these ratios are hollow points; a published dense model is a dotted level.
    `logarithmic` makes the axis so, and the intervals.
    """
    printed = values[:0] if printed is None else printed
    _level(ax.axhline, ax.axhspan, values, printed, logarithmic)
    methods = pruned(pd.concat([values[["method"]], printed[["method"]]]), looks)
    removed = [100 * ratio for ratio in ratios(values)]
    gap = min(np.diff(removed), default=10)
    for method, offset in zip(methods, dodge(len(methods), min(0.6, 0.05 * len(methods)) * gap), strict=True):
        shown = values[values["method"] == method].sort_values("ratio")
        low, high = ends(shown["value"], shown["half"], logarithmic)
        bars = [shown["value"] - low, high - shown["value"]]
        points(ax, looks[method], 100 * shown["ratio"] + offset, shown["value"], yerr=bars)
        hollow = printed[(printed["method"] == method) & printed["ratio"].isin(values["ratio"])]
        if len(hollow):
            mark = HOLLOW | {"marker": looks[method].marker, "color": looks[method].colour}
            ax.plot(100 * hollow["ratio"] + offset, hollow["value"], **mark)
    ax.set_xticks(removed, [f"{ratio:.3g}" for ratio in removed])
    ax.set_xlim(removed[0] - 0.5 * gap, removed[-1] + 0.5 * gap)
    if logarithmic:
        log(ax, "y")


def _level(
    line: Callable[..., Any],
    span: Callable[..., Any],
    values: pd.DataFrame,
    printed: pd.DataFrame,
    logarithmic: bool,
) -> None:
    """Draw the dense model as a level with a band, its interval, and the published one as a dotted level."""
    dense = values[values["method"] == DENSE]
    for low, high in zip(*ends(dense["value"], dense["half"], logarithmic), strict=True):
        if low < high:
            span(low, high, color=BLACK, alpha=0.08, linewidth=0, zorder=0)
    for rows, style in ((dense, "--"), (printed[printed["method"] == DENSE], ":")):
        for level in rows["value"]:
            line(level, linestyle=style, **LEVEL)


def of_one_ratio(values: pd.DataFrame) -> bool:
    """Tell whether methods have one ratio: then they stand one below the other, since no line leads anywhere."""
    return values.loc[values["method"] != DENSE, "ratio"].nunique() == 1


def best_first(values: pd.DataFrame, better: str) -> list[str]:
    """Return the methods that prune, the best first, by values of one metric."""
    shown = values[values["method"] != DENSE]
    return [*shown.sort_values(["value", "method"], ascending=[better != "higher", True])["method"]]


def by_method(
    ax: Axes,
    values: pd.DataFrame,
    looks: dict[str, Look],
    methods: Sequence[str],
    printed: pd.DataFrame | None = None,
    logarithmic: bool = False,
    named: bool = True,
) -> None:
    """Draw one line per method of `methods`, the first on top, at a single ratio; else as `against_ratio`."""
    printed = values[:0] if printed is None else printed
    _level(ax.axvline, ax.axvspan, values, printed, logarithmic)
    for y, method in enumerate(methods):
        shown = values[values["method"] == method]
        low, high = ends(shown["value"], shown["half"], logarithmic)
        bars = [shown["value"] - low, high - shown["value"]]
        points(ax, looks[method], shown["value"], pd.Series(float(y), shown.index), xerr=bars, linestyle="")
        hollow = printed[(printed["method"] == method) & printed["ratio"].isin(values["ratio"])]
        if len(hollow):
            mark = HOLLOW | {"marker": looks[method].marker, "color": looks[method].colour}
            ax.plot(hollow["value"], [y] * len(hollow), **mark)
    names = [looks[method].label if named else "" for method in methods]
    ax.set(yticks=range(len(methods)), yticklabels=names, ylim=(len(methods) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.grid(True, axis="x")
    if logarithmic:
        log(ax, "x")
    else:
        ax.locator_params(axis="x", nbins=few())


def few() -> int:
    """Return the number of ticks for which a narrow axis has room: four, or fewer in large letters."""
    return max(2, round(4 * 8 / points_of(rcParams["font.size"])))


def lines_height(methods: int) -> float:
    """Return the height in inches of axes with one line per method, with their label and ticks."""
    return (LINE * methods + 0.45) * points_of(rcParams["font.size"]) / 8


def spans_a_decade(values: pd.DataFrame) -> bool:
    """Tell whether values are positive and differ so much that they need a logarithmic axis."""
    return bool(values["value"].min() > 0 and values["value"].max() > 10 * values["value"].min())


def log(ax: Axes, which: Literal["x", "y"], nonpositive: str = "clip", short: bool = False) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks, or powers of ten if they are long.

    A `short` axis, and one across, has room for few of them.
    """
    if upright := which == "y":
        ax.set_yscale("log", nonpositive=nonpositive)
    else:
        ax.set_xscale("log", nonpositive=nonpositive)
    axis = ax.yaxis if upright else ax.xaxis
    low, high = ax.get_ylim() if upright else ax.get_xlim()
    fine = high < (1000 if upright and not short else 20) * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=6 if upright else few()))
    plain = high < 1e5 and low >= 1e-3
    axis.set_major_formatter(FuncFormatter(_plain_number) if plain else LogFormatterMathtext())
    axis.set_minor_locator(NullLocator())


def _plain_number(x: float, _: float | None = None) -> str:
    return f"{x:,.0f}" if x >= 1 else f"{x:g}"


def handles(methods: Iterable[str], looks: dict[str, Look], marked: Iterable[str] = ()) -> list[Artist]:
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


def meaning(values: pd.DataFrame, units: str = "items") -> str:
    """Explain the error bars, if there are any."""
    over = f"draws and {units}" if spread(values) == "sd" else f"{units} of one draw"
    known = values["half"].notna()
    band = ", and the dense model's band" if (known & (values["method"] == DENSE)).any() else ""
    return f"Bars{band}: 95 % intervals over {over}" if known.any() else ""


def with_ratio(values: pd.DataFrame, text: str) -> str:
    """Begin a legend's title with the share that is removed, where no axis has it."""
    removed = percents(ratios(values)) if of_one_ratio(values) else []
    return ". ".join(filter(None, [*removed, text]))


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


def not_measured(what: str) -> Figure:
    """Return a figure that says that `what` is not measured yet."""
    return sentence(f"{what}: not measured")


def sentence(text: str) -> Figure:
    """Return a figure of one sentence."""
    figure = Figure(figsize=(COLUMN_WIDTH if len(text) < 50 else FULL_WIDTH, 0.8))
    say(figure.subplots(), text)
    return figure


def say(ax: Axes, text: str) -> None:
    """Replace a panel by words."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
