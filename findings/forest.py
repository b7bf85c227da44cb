"""Forest plots: effects with their intervals, one below the other, as small SVG files with text as text."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

LOOK = {"svg.fonttype": "none", "svg.hashsalt": "findings", "font.family": "sans-serif", "font.size": 8}
LOOK |= {"font.sans-serif": ["DejaVu Sans"]}  # every name of the list would stand in every text
LOOK |= {"axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}
SHOWN, NOT_SHOWN = "#0072B2", "#666666"
ROW, BETWEEN = 0.16, 3.5  # inches of a row, rows between panels
EMPTY: Mapping[str, Any] = {}
QUOTIENTS = 0.3, 0.4, 0.5, 0.7, 1, 1.4, 2
# A title, effects by name, the value that is no effect, and the ends of the published effects by name.
Panel = tuple[str, Mapping[str, Any], float] | tuple[str, Mapping[str, Any], float, Mapping[str, Any]]


def drawn(panels: Sequence[Panel]) -> str:
    """Return panels below each other as SVG; where an interval leaves out no effect, the mark is full and blue.

    The range that a panel gives for an effect, such as of published ones, is an orange bar behind it.
    """
    heights = [len(effects) for _, effects, *_ in panels]
    lines = sum(heights) + BETWEEN * len(panels)
    grid = {"left": 0.38, "right": 0.74, "top": 1 - 1.7 / lines, "bottom": 1.8 / lines}
    grid |= {"hspace": BETWEEN * len(panels) / sum(heights)}
    with rc_context(LOOK):
        figure = Figure(figsize=(7.4, ROW * lines))
        axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False, gridspec_kw=grid)
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _draw(axis, *panel)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = r"\d+\.\d{3,}(?![^<]*</text>)"  # numbers of paths, not of words
    return re.sub(drawing, lambda number: f"{float(number[0]):.2f}", text.getvalue())


def _draw(
    axis: Axes, title: str, effects: Mapping[str, Any], nothing: float, published: Mapping[str, Any] = EMPTY
) -> None:
    axis.axvline(nothing, color="#aaaaaa", linewidth=0.8)
    for place, effect in enumerate(effects.values()):
        colour, full = (SHOWN, SHOWN) if effect.side else (NOT_SHOWN, "white")
        axis.plot([effect.low, effect.high], [place] * 2, color=colour, linewidth=1.2)
        axis.plot([effect.value], [place], "o", markersize=4, color=colour, markerfacecolor=full)
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7}
        axis.annotate(str(effect), (1.02, place), **beside)
    for name, ends in published.items():
        axis.plot(ends, [[*effects].index(name)] * 2, color="#E69F00", linewidth=5, alpha=0.5, zorder=0)
    if nothing == 1:
        axis.set_xscale("log")
        left, right = axis.get_xlim()
        ticks = [tick for tick in QUOTIENTS if left < tick < right]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.locator_params("x", nbins=5)
    axis.set_yticks(range(len(effects)), [*effects])
    axis.tick_params("y", length=0, labelsize=7.5)
    axis.set_ylim(len(effects) - 0.4, -0.6)
    axis.set_title(title, loc="left", fontsize=8, fontweight="bold", x=-1.04)
