"""Parts that figures share: axes in rows and columns, marks, legends, and sentences in place of a figure."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from hfprune.analysis.averages import spread
from hfprune.report.intervals import ends
from hfprune.report.style import COLUMN_WIDTH, FULL_WIDTH, Look, recovery_label
from hfprune.results import DENSE

FOCUS = 0.2  # figures with a single ratio show this one or the nearest; the paper's first
BLACK, GREY = "black", "#8C8C8C"
# Separates markers that touch.
EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4}
HOLLOW: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "white"}  # published points


def grid(
    rows: Sequence[str], columns: Sequence[str], width: float, height: float, **share: Any
) -> tuple[Figure, np.ndarray]:
    """Return axes in rows (named on the right if several) and columns (named on top); sizes in inches."""
    figure = Figure(figsize=(width, height * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False, **share)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, loc="left")
    if len(rows) > 1:
        for ax, name in zip(axes[:, -1], rows, strict=True):
            strip(ax, name)
    return figure, axes


def wrap(names: Sequence[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return one axes per name, three in a row; a single one is `width` inches wide and has no name."""
    columns = min(len(names), 3)
    rows = ceil(len(names) / columns)
    figure = Figure(
        figsize=(width if columns == 1 else FULL_WIDTH, height * rows + 0.5), layout="constrained"
    )
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(names))]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name if len(names) > 1 else "", loc="left")
    return figure, axes


def strip(ax: Axes, name: str) -> None:
    """Name a row of axes at the right of its last one."""
    ax.annotate(name, (1.03, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=8)


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
    ax.errorbar(x, y, color=look.colour, marker=look.marker, elinewidth=0.7, **EDGE, **options)


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
    for rows, line in ((values, "--"), (printed, ":")):
        for level in rows.loc[rows["method"] == DENSE, "value"]:
            ax.axhline(level, color=BLACK, linestyle=line, linewidth=0.8)
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
        log(ax)


def spans_a_decade(values: pd.DataFrame) -> bool:
    """Tell whether values are positive and differ so much that they need a logarithmic axis."""
    return bool(values["value"].min() > 0 and values["value"].max() > 10 * values["value"].min())


def log(ax: Axes) -> None:
    """Make y logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.yaxis.set_minor_locator(NullLocator())


def handles(methods: Iterable[str], looks: dict[str, Look], marked: Iterable[str] = ()) -> list[Artist]:
    """Return legend entries in the methods' order; the dense model is a level unless it is in `marked`."""
    present = set(methods)
    return [
        Line2D([], [], color=BLACK, linestyle="--", linewidth=0.8, label=look.label)
        if method == DENSE and method not in marked
        else Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **EDGE)
        for method, look in looks.items()
        if method in present
    ]


def meaning(values: pd.DataFrame, units: str = "items") -> str:
    """Explain the error bars, if there are any."""
    over = f"draws and {units}" if spread(values) == "sd" else f"{units} of one draw"
    return f"Bars: 95 % intervals over {over}" if values["half"].notna().any() else ""


def legend(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, in as few rows as the width allows, and make room for it."""
    widest = 0.42 + 0.05 * max(len(str(handle.get_label())) for handle in handles)
    rows = ceil(len(handles) * widest / figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + 0.15 * (rows + bool(title)) + 0.1)
    figure.legend(handles=handles, loc="outside lower center", ncols=ceil(len(handles) / rows), title=title)


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
