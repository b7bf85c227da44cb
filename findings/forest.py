"""Forest plots: effects with their intervals, one line each, as small SVG files with text as text."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report.charts import BARS, MARKS, Chart, span
from hfprune.report.drawing.figure_files import fix_layout, svg_text
from hfprune.report.drawing.marks import BLACK
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.style import Look
from hfprune.results.effect import Effect

LEGEND = f"{BARS}. {MARKS}"
# What marks and crosses are, in most figures.
LABELS = "Measured here", "Published range"
STYLE = {"svg.hashsalt": "findings"}


@dataclass(frozen=True)
class Panel:
    """Effects by name, one line each, and for some the ends of a range, such as that of published effects."""

    title: str
    effects: Mapping[str, Effect]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    hollow: Collection[str] = ()
    """Effects that show nothing, whatever their p-value."""


def drawn(panels: Sequence[Panel], legend: str = LEGEND, labels: tuple[str, str] = LABELS) -> str:
    """Return panels one below the other as SVG, each effect with its number beside its name.

    `labels` say what the marks of effects and the crosses at the ends of ranges are.
    """
    with theme(STYLE):
        return short_svg(sheet([(panel.title, [_chart(panel, labels)]) for panel in panels], legend))


def short_svg(figure: Figure) -> str:
    """Return a figure as SVG whose paths have two decimals, which is enough on a screen; words keep theirs."""
    fix_layout(figure)
    drawing = r"\d+\.\d{3,}(?![^<]*</text>)"
    return re.sub(drawing, lambda number: f"{float(number[0]):.2f}", svg_text(figure, "Date", "Creator"))


def forest(
    effects: Iterable[tuple[str, Effect, bool]],
    axis: str = "",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    labels: tuple[str, str] = LABELS,
) -> Chart:
    """Return the chart of effects by name, filled if they are shown, and of the ends of ranges by these names."""
    lines = [*effects]
    names = [name for name, *_ in lines]
    first = lines[0][1]
    rows = [
        {"group": "measured", "place": place, "hollow": not shown, "published": False}
        | {column: getattr(effect, column) for column in ("value", "low", "high", "neutral")}
        for place, (_, effect, shown) in enumerate(lines)
    ]
    rows += [
        {"group": "published", "place": names.index(name), "hollow": False, "published": True}
        | {"value": end, "low": nan, "high": nan, "neutral": first.neutral}
        for name, ends in (ranges or {}).items()
        for end in ends
    ]
    table = pd.DataFrame(rows).astype({"place": float})
    log = first.neutral == 1
    ends = span(table, first.neutral, log, near=False)
    looks = {"measured": Look(labels[0], "#0072B2", "o"), "published": Look(labels[1], BLACK, "x")}
    return Chart(table, looks, axis, names=names, log=log, ends=ends)


def significant(effect: Effect) -> bool:
    """Tell whether an effect is significant: after Holm's correction or, without a family, by its interval."""
    return effect.sure or (isnan(effect.holm) and bool(effect.side))


def _chart(panel: Panel, labels: tuple[str, str]) -> Chart:
    names = {name: f"{name}   {effect}" for name, effect in panel.effects.items()}
    lines = (
        (names[name], effect, significant(effect) and name not in panel.hollow)
        for name, effect in panel.effects.items()
    )
    return forest(lines, "", {names[name]: ends for name, ends in panel.ranges.items()}, labels)
