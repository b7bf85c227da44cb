"""The difference of every method from the reference, the best first, with 95 % intervals; the shaded side is
the better one. A number with an arrow lies beyond the axis. The grey band is the overlap of the reference
with its own other draws.
"""

from typing import Any

import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hfprune.report import charts
from hfprune.report.axis_ends import span
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import NAMED, across, full, grid, headline, legend, lines_height
from hfprune.report.drawing.lettering import fit, inches, points_of
from hfprune.report.drawing.marks import BLACK, SHADE, draw, small
from hfprune.report.effects import Effect, effects_shown
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look

MOST_LINES = 30  # in a comparison at all ratios
DRAWS = "#E3E3E3"
AGREEMENT = {  # columns without a value between better and worse
    "overlap": Effect("Overlap", "{:.2f}", None, 0),
    "ablation_correlation": Effect("Ablation corr.", "{:.2f}", None, 0),
}


class Comparison(FigurePublication):
    """One row of panels per model and ratio, one column per effect, one line per method.

    The order is that of the rows of `comparison.csv`. A study with many methods shows the ratio nearest to
    `charts.FOCUS` only.
    """

    order = 14
    reads = ("comparison.csv",)

    def make(self, data: Collected) -> Figure | str:
        """Draw every method beside its reference."""
        rows = data.comparison
        effects = AGREEMENT | effects_shown(data.declared)
        panels = {
            name: effect for name, effect in effects.items() if name in rows and rows[name].notna().any()
        }
        if rows.empty or not panels or (beside := rows[_beside(rows)]).empty:
            return "Comparison of methods: not measured"
        size = points_of(rcParams["ytick.labelsize"])
        names_width = max(inches(look.label, size) for look in data.looks.values())
        most = across(NAMED, names_width)
        if full() < 5:  # the primary outcome, or else the first that is better or worse
            first = [name for name in panels if panels[name].neutral is not None] or [*panels]
            primary = [name for name in first if name in set(beside["primary"])]
            panels = {name: panels[name] for name in [*dict.fromkeys([*primary, *first])][:most]}
        if len(beside) > MOST_LINES:
            beside = beside[beside["ratio"] == charts.focus(beside)]
        blocks = [block for _, block in beside.groupby(["model", "ratio"], sort=False)]
        differs = beside["differs"].fillna("") if full() > 5 else []
        beyond = max((inches(text, small()) for text in differs), default=0.0)
        room = (full() - names_width - beyond) / len(panels) - 0.1
        headings = {
            name: fit(effect.heading, room, rcParams["axes.labelsize"]) for name, effect in panels.items()
        }
        wrapped = max(heading.count("\n") for heading in headings.values())
        heights = [lines_height(len(block)) + 0.2 + 0.15 * wrapped for block in blocks]
        figure, axes = grid([""] * len(blocks), [""] * len(panels), full(), heights)
        for axes_of_column, (column, effect) in zip(axes.T, panels.items(), strict=True):
            named = column == next(iter(panels))
            reach = None if effect.neutral is None else span(charts.effects(beside, column), effect.neutral)
            value = charts.Axis(headings[column], log=10 * (effect.neutral == 1), ends=reach)
            for ax, block in zip(axes_of_column, blocks, strict=True):
                names = [data.looks[method].label if named else "" for method in block["method"]]
                shown = charts.effects(block, column)
                draw(
                    ax,
                    charts.Chart(
                        shown, data.looks, value, names=names, neutral=effect.neutral, better=effect.better
                    ),
                    room,
                )
                if effect.neutral is None:
                    _agreement(ax, block[column], _draws(rows, block)[column])
        for row, block in zip(axes, blocks, strict=True):
            title = fit(_title(block, data.looks), full() - 0.4)
            headline(row[0], title, rcParams["axes.titlesize"], figure.transSubfigure)
            for y, text in enumerate(block["differs"].fillna("") if full() > 5 else ()):
                where: dict[str, Any] = {
                    "xycoords": ("axes fraction", "data"),
                    "va": "center",
                    "fontsize": small(),
                }
                row[-1].annotate(text, (1.05, y), **where)
        handles: list[Artist] = []
        if any(beside[f"{column}_low"].notna().any() for column in panels if f"{column}_low" in beside):
            handles.append(Line2D([], [], color=BLACK, linewidth=0.7, label="95 % interval"))
            handles.append(Patch(color=SHADE, linewidth=0, label="Better side"))
        agree = [column for column, effect in panels.items() if effect.neutral is None]
        if any(_draws(rows, block)[agree].notna().any(axis=None) for block in blocks):
            handles.append(Patch(color=DRAWS, linewidth=0, label="Other draws of the reference"))
        legend(figure, handles, "Right: the settings that differ from the reference's" if full() > 5 else "")
        return figure


def _beside(rows: pd.DataFrame) -> pd.Series:
    """Tell which rows are of other methods than the reference; the others are of its other draws, or of itself."""
    return rows["seed"].isna() & (rows["method"] != rows["reference"])


def _draws(rows: pd.DataFrame, block: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of other draws of the references of a block."""
    same = rows["model"].eq(block["model"].iloc[0]) & rows["ratio"].eq(block["ratio"].iloc[0])
    return rows[same & rows["seed"].notna() & rows["reference"].isin(block["reference"])]


def _title(block: pd.DataFrame, looks: dict[str, Look]) -> str:
    names = {looks[name].label for name in block["reference"]}
    against = names.pop() if len(names) == 1 else "the reference with the same calibration"
    removed = charts.percents([block["ratio"].iloc[0]])[0]
    return f"{block['model'].iloc[0]}, {removed}, against {against}"


def _agreement(ax: Axes, values: pd.Series, draws: pd.Series) -> None:
    """Draw the range of the same number for other draws of the reference, on an axis from 0 to 1."""
    if draws.notna().any():
        ax.axvspan(draws.min(), draws.max(), facecolor=DRAWS, edgecolor=DRAWS, linewidth=0.8, zorder=0)
    ax.grid(False)
    ax.set(xlim=(min(0, values.min()), 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
