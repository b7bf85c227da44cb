"""Figures with one line per comparison: an effect with its 95 % interval, and the claimed side."""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS
from hfprune.report.comparison import Effect, effects_shown
from hfprune.report.figures import drawing
from hfprune.report.figures.collected import Collected
from hfprune.report.figures.drawing import BLACK, EDGE, GREY
from hfprune.report.style import FULL_WIDTH, VERDICT_LOOKS, Look

# Published effects: one shape, fainter if less reliable.
_PUBLISHED: dict[str, Any] = {"marker": "D", "linestyle": "", "color": BLACK}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "ok": ("Published", {"markersize": 3}),
    "tentative": ("Published, tentative", {"markersize": 3, "fillstyle": "none"}),
    "suspect": ("Published, suspect", {"markersize": 3, "fillstyle": "none", "alpha": 0.35}),
}


def claims(data: Collected) -> Figure:
    """Draw a forest plot: our effect on every claim with its 95 % interval, and the published effect as a mark.

    The claimed side is shaded. Rows that are neither run nor published have no line.
    """
    rows = data.claims
    if len(rows):
        rows = rows[
            rows[["effect", "published"]].notna().any(axis=1) & (rows["metric"] != AVERAGE_WITHOUT_CROWS)
        ]
    if rows.empty:
        return drawing.not_measured("Claims")
    panels = [panel for _, panel in rows.groupby("claim", sort=False)]
    heights = np.cumsum([len(panel) + 4 for panel in panels])  # in lines: four for title and axis
    half = int(np.searchsorted(heights, heights[-1] / 2)) + 1
    columns = [column for column in (panels[:half], panels[half:]) if column]
    figure = Figure(figsize=(FULL_WIDTH, 0.14 * heights[half - 1] + 0.3), layout="constrained")
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, column in zip(parts, columns, strict=True):
        axes = part.subplots(len(column), 1, squeeze=False, height_ratios=[len(panel) for panel in column])
        for ax, panel in zip(axes[:, 0], column, strict=True):
            _forest(ax, panel)
    marks = [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **EDGE)
        for verdict, look in VERDICT_LOOKS.items()
        if verdict in set(rows["verdict"])
    ]
    marks += [
        Line2D([], [], label=label, **_PUBLISHED, **shape)
        for confidence, (label, shape) in PUBLISHED.items()
        if confidence in set(rows["confidence"])
    ]
    drawing.legend(figure, marks, "Bars: 95 % intervals. Shaded: the claimed side")
    return figure


def _forest(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the comparisons of one claim, a line each."""
    for y, row in enumerate(rows.itertuples()):
        if look := VERDICT_LOOKS.get(row.verdict):
            bar = None if np.isnan(row.low) else [[row.effect - row.low], [row.high - row.effect]]
            drawing.points(ax, look, row.effect, y, xerr=bar)
        if row.confidence in PUBLISHED:
            ax.plot(row.published, y, **_PUBLISHED, **PUBLISHED[row.confidence][1])
    first = rows.iloc[0]
    ax.margins(x=0.06)
    # A published factor is another threshold at every ratio.
    edges = [(y - 0.5, y + 0.5) for y in range(len(rows))]
    for edge, than in zip(edges, rows["than"], strict=True):
        ax.plot([than, than], edge, color=GREY, linewidth=0.8, zorder=1)
    low, high = ax.get_xlim()
    for edge, than in zip(edges, rows["than"], strict=True):
        side = {"higher": (than, high), "lower": (low, than)}.get(first["relation"])
        if side:
            ax.fill_betweenx(edge, *side, color="#EAF2F8", zorder=0, linewidth=0)
    ratios = ["" if np.isnan(ratio) else f", {100 * ratio:.3g}%" for ratio in rows["ratio"]]
    names = [model + ratio for model, ratio in zip(rows["model"], ratios, strict=True)]
    ax.set(xlim=(low, high), yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.set_title(fill(first["sentence"], 42), loc="left", fontsize=7)
    ax.set_xlabel(f"Difference ({first['unit']})" if first["unit"] != "ratio" else "Ratio")


def comparison(data: Collected) -> Figure:
    """Draw the difference of every method from the reference, at the ratio nearest to `FOCUS`, one line each.

    Lines are ordered by the settings that differ; the shaded side is the better one.
    """
    rows = data.comparison
    if rows.empty:
        return drawing.not_measured("Comparison of methods")
    rows = rows[rows["ratio"] == drawing.focus(rows)]
    models = [*dict.fromkeys(rows["model"])]
    agreement = {
        "overlap": Effect("Overlap", "", None, 0),
        "ablation_correlation": Effect("Ablation corr.", "", None, 0),
    }
    panels = agreement | effects_shown(data.declared)
    panels = {
        column: panel for column, panel in panels.items() if column in rows and rows[column].notna().any()
    }
    if not panels:
        return drawing.not_measured("Comparison of methods")
    lines = max(rows.groupby("model").size())
    references = {data.looks[name].label for name in rows["reference"]}
    against = references.pop() if len(references) == 1 else "the reference with the same calibration"
    figure, axes = drawing.grid(
        [""] * len(models), [""] * len(panels), FULL_WIDTH, 0.14 * lines + 0.5, sharey="row"
    )
    for row, model in zip(axes, models, strict=True):
        shown = rows[rows["model"] == model].reset_index(drop=True)
        for ax, (column, effect) in zip(row, panels.items(), strict=True):
            _effects(ax, shown, column, data.looks, effect)
            ax.set_xlabel(effect.heading)
        # Not at the right, as in other figures, since the differing settings are there.
        of = f"{model}: " if len(models) > 1 else ""
        row[0].set_title(f"{of}against {against}, {100 * shown['ratio'][0]:.3g}% removed", loc="left")
        names = [
            data.looks[line.method].label + ("" if pd.isna(line.seed) else f", seed {line.seed:.0f}")
            for line in shown.itertuples()
        ]
        row[0].set(yticks=range(len(shown)), yticklabels=names, ylim=(len(shown) - 0.5, -0.5))
        # On the right, where there is room: the differing settings, once per group of lines.
        first = shown["differs"].notna() & ~shown["differs"].duplicated()
        for y, text in shown.loc[first, "differs"].items():
            row[-1].annotate(text, (1.03, y), xycoords=("axes fraction", "data"), va="center", fontsize=6)
            for ax in row:
                ax.axhline(y - 0.5, color="#D9D9D9", linewidth=0.5, zorder=0)
    handles = [
        Line2D([], [], color=BLACK, linewidth=0.7, label="95 % interval"),
        Patch(color="#EAF2F8", linewidth=0, label="Better side"),
    ]
    drawing.legend(figure, handles, "Right: the settings that differ from the reference's")
    return figure


def _effects(ax: Axes, rows: pd.DataFrame, column: str, looks: dict[str, Look], effect: Effect) -> None:
    """Draw a column of the comparison, one line per method, with intervals where known.

    A value far from the rest is a number at the edge, so that the rest stay distinguishable.
    """
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    than = effect.than
    if than is None:
        for y, row in rows.iterrows():
            drawing.points(ax, looks[row["method"]], row[column], y)
        ax.set_xlim(min(0, rows[column].min()), 1)
        return
    distance = (rows[column] - than).abs()
    far = distance > 4 * distance.median()
    for y, row in rows[~far].iterrows():
        bar = [[row[column] - row[f"{column}_low"]], [row[f"{column}_high"] - row[column]]]
        drawing.points(ax, looks[row["method"]], row[column], y, xerr=None if np.isnan(bar).any() else bar)
    low, high = ax.get_xlim()
    low, high = min(low, than), max(high, than)
    for y, value in rows.loc[far, column].items():
        right = value > than
        text = f"{value:,.3g} →" if right else f"← {value:,.3g}"
        ax.text(high if right else low, y, text, ha="right" if right else "left", va="center", fontsize=6)
    if effect.better:
        side = (low, than) if effect.better < 0 else (than, high)
        ax.axvspan(*side, color="#EAF2F8", zorder=0, linewidth=0)
    ax.axvline(than, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlim(low, high)
