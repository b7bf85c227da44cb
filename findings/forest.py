"""Forest plots: effects with their intervals, one below the other, as small SVG files with text as text."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hfprune.report.drawing.figure_files import svg_text
from hfprune.results.effect import Effect

# After matplotlib's defaults, so that a user's matplotlibrc has no part.
LOOK: dict[str, Any] = {
    **{"svg.fonttype": "none", "svg.hashsalt": "findings", "font.family": "sans-serif", "font.size": 8},
    # Every font of the list would be written into every text.
    "font.sans-serif": ["DejaVu Sans"],
    **{"lines.linewidth": 1.2, "lines.markersize": 4},
    **{f"axes.spines.{side}": False for side in ("top", "right", "left")},
}
SHOWN, NOT_SHOWN = "#0072B2", "#666666"
ROW, BETWEEN = 0.16, 3.5  # inches of a row, rows between panels
LEGEND = "Bars: 95 % intervals. Filled: significant; families are corrected by Holm's method"
QUOTIENTS = 0.3, 0.4, 0.5, 0.7, 1, 1.4, 2, 4, 8, 16


@dataclass(frozen=True)
class Panel:
    """Effects by name, one below the other, and behind each a range, such as that of published effects."""

    title: str
    effects: Mapping[str, Effect]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    hollow: Collection[str] = ()
    """Effects that show nothing, whatever their p-value."""

    @property
    def neutral(self) -> float:
        """The value of no effect, the same in all."""
        return next(iter(self.effects.values())).neutral


def drawn(panels: Sequence[Panel]) -> str:
    """Return panels one below the other as SVG.

    A mark is filled if its effect is significant and not among the hollow ones; a range is an orange bar.
    """
    heights = [len(panel.effects) for panel in panels]
    lines = sum(heights) + BETWEEN * len(panels) + 1  # of the legend
    grid = {"left": 0.38, "right": 0.74, "top": 1 - 1.7 / lines, "bottom": 2.8 / lines}
    grid |= {"hspace": BETWEEN * len(panels) / sum(heights)}
    with style.context(["default", LOOK]):
        figure = Figure(figsize=(7.4, ROW * lines))
        axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False, gridspec_kw=grid)
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _draw(axis, panel)
        figure.text(0.01, 0.4 / lines, LEGEND, fontsize=7)
        return short_svg(figure)


def short_svg(figure: Figure) -> str:
    """Return a figure as SVG whose paths have two decimals, which is enough on a screen; words keep theirs."""
    drawing = r"\d+\.\d{3,}(?![^<]*</text>)"
    return re.sub(drawing, lambda number: f"{float(number[0]):.2f}", svg_text(figure, "Date", "Creator"))


def mark(axis: Axes, rows: Iterable[tuple[str, Effect, bool]], neutral: float = 0.0) -> None:
    """Draw effects with their intervals one below the other, beside their names; shown ones are filled blue."""
    axis.axvline(neutral, color="#aaaaaa", linewidth=0.8)
    names = []
    for place, (name, effect, shown) in enumerate(rows):
        colour, face = (SHOWN, SHOWN) if shown else (NOT_SHOWN, "white")
        axis.plot([effect.low, effect.high], [place] * 2, color=colour)
        axis.plot([effect.value], [place], "o", color=colour, markerfacecolor=face)
        names.append(name)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params("y", length=0)


def significant(effect: Effect) -> bool:
    """Tell whether an effect is significant: after Holm's correction or, without a family, by its interval."""
    return effect.sure or (isnan(effect.holm) and bool(effect.side))


def _draw(axis: Axes, panel: Panel) -> None:
    effects = panel.effects
    rows = [
        (name, effect, significant(effect) and name not in panel.hollow) for name, effect in effects.items()
    ]
    mark(axis, rows, panel.neutral)
    for place, effect in enumerate(effects.values()):
        coordinates = ("axes fraction", "data")
        axis.annotate(str(effect), (1.02, place), xycoords=coordinates, va="center", fontsize=7)
    for name, ends in panel.ranges.items():
        axis.plot(ends, [[*effects].index(name)] * 2, color="#E69F00", linewidth=5, alpha=0.5, zorder=0)
    if panel.neutral == 1:
        axis.set_xscale("log")
        left, right = axis.get_xlim()
        ticks = [tick for tick in QUOTIENTS if left < tick < right]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.locator_params("x", nbins=5)
    axis.tick_params("y", labelsize=7.5)
    axis.set_title(panel.title, loc="left", fontsize=8, fontweight="bold", x=-1.04)
