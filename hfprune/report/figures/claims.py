"""Our effect on each claim of the paper that was measured, with its 95 % interval, and the published effect
beside it; the claimed side is shaded.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import framed, full, handles, headline, legend
from hfprune.report.drawing.lettering import fit, inches, points_of
from hfprune.report.drawing.marks import BLACK, GREY, SHADE, few, lines, points
from hfprune.report.publication import FigurePublication
from hfprune.report.style import VERDICT_LOOKS

# Published effects: one shape, fainter if less reliable.
_SHAPE: dict[str, Any] = {"marker": "D", "linestyle": "", "color": BLACK, "markersize": 3}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "ok": ("Published", _SHAPE),
    "tentative": ("Published, tentative", _SHAPE | {"fillstyle": "none"}),
    "suspect": ("Published, suspect", _SHAPE | {"fillstyle": "none", "alpha": 0.35}),
}


class Claims(FigurePublication):
    """Forest plots in two columns, one per claim, one line per comparison."""

    order = 13
    reads = ("claims.csv",)

    def make(self, data: Collected) -> Figure | str:
        """Draw the claims with an effect of ours on any model."""
        rows = data.claims
        if len(rows):
            known = rows[["effect", "published"]].notna().any(axis=1)
            rows = rows[known & (rows["metric"] != AVERAGE_WITHOUT_CROWS)]
            shown = rows["effect"].notna()
            if full() < 5:  # a column has no room for all
                ratios = rows["ratio"].isna() | rows["ratio"].eq(charts.focus(rows.dropna(subset="ratio")))
                rows, shown = rows[ratios], rows["low"].notna()[ratios]
            rows = rows[shown.groupby(rows["claim"]).transform("any")]
        if rows.empty:
            return "Claims: not measured"
        panels = [panel for _, panel in rows.groupby("claim", sort=False)]
        heights = np.cumsum([len(panel) + 5 for panel in panels])  # in lines: five for title and axis
        half = int(np.searchsorted(heights, heights[-1] / 2)) + 1 if full() > 5 else len(panels)
        columns = [column for column in (panels[:half], panels[half:]) if column]
        tallest = max(sum(len(panel) + 5 for panel in column) for column in columns)
        figure = framed(full(), 0.13 * tallest * points_of(rcParams["font.size"]) / 8 + 0.3)
        size = rcParams["xtick.labelsize"]
        for part, column in zip(figure.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
            axes = part.subplots(len(column), 1, squeeze=False, height_ratios=[*map(len, column)])
            for ax, panel in zip(axes[:, 0], column, strict=True):
                _forest(ax, panel, full() / len(columns))
                sentence = fit(panel["sentence"].iloc[0], full() / len(columns) - 0.3, size)
                # From the left edge of the column, since the axes leave room for names there.
                headline(ax, sentence, size, part.transSubfigure)
        marks = handles(rows["verdict"], VERDICT_LOOKS)
        marks += [
            Line2D([], [], label=label, **shape)
            for confidence, (label, shape) in PUBLISHED.items()
            if confidence in set(rows["confidence"])
        ]
        legend(figure, marks, "Bars: 95 % intervals. Shaded: the claimed side")
        return figure


def _forest(ax: Axes, rows: pd.DataFrame, width: float) -> None:
    """Draw the comparisons of one claim, a line each, in a column of this width in inches, names included."""
    for y, row in enumerate(rows.itertuples()):
        if look := VERDICT_LOOKS.get(row.verdict):
            bar = None if np.isnan(row.low) else [[row.effect - row.low], [row.high - row.effect]]
            points(ax, look, row.effect, y, xerr=bar)
        if row.confidence in PUBLISHED:
            ax.plot(row.published, y, **PUBLISHED[row.confidence][1])
        # A published factor is another threshold at every ratio.
        ax.plot([row.threshold, row.threshold], [y - 0.5, y + 0.5], color=GREY, linewidth=0.8, zorder=1)
    first = rows.iloc[0]
    ax.margins(x=0.06)
    low, high = ax.get_xlim()
    for y, (than, known) in enumerate(zip(rows["threshold"], rows["low"].notna(), strict=True)):
        if known and (side := {"higher": (than, high), "lower": (low, than)}.get(first["relation"])):
            ax.fill_betweenx((y - 0.5, y + 0.5), *side, color=SHADE, zorder=0, linewidth=0)
    ratios = ["" if np.isnan(ratio) else f", {100 * ratio:.3g}%" for ratio in rows["ratio"]]
    names = [model + ratio for model, ratio in zip(rows["model"], ratios, strict=True)]
    lines(ax, names)
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(MaxNLocator(few(), steps=[1, 2, 5, 10]))
    label = f"Difference ({first['unit']})" if first["unit"] != "ratio" else "Ratio"
    beside = max(inches(name, points_of(rcParams["ytick.labelsize"])) for name in names)
    ax.set_xlabel(fit(label, width - beside - 0.1, rcParams["axes.labelsize"]))
