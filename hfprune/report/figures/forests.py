"""Figures with one line per comparison: an effect with its 95 % interval, and the claimed side."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS
from hfprune.analysis.comparison import ENDS
from hfprune.report.comparison import Effect, effects_shown
from hfprune.report.figures import drawing
from hfprune.report.figures.collected import Collected
from hfprune.report.figures.drawing import BLACK, EDGE, GREY, SHADE
from hfprune.report.figures.lettering import fit
from hfprune.report.style import FULL_WIDTH, VERDICT_LOOKS, Look

MOST_LINES = 30  # in a comparison at all ratios
DRAWS = "#E3E3E3"
# Published effects: one shape, fainter if less reliable.
_PUBLISHED: dict[str, Any] = {"marker": "D", "linestyle": "", "color": BLACK}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "ok": ("Published", {"markersize": 3}),
    "tentative": ("Published, tentative", {"markersize": 3, "fillstyle": "none"}),
    "suspect": ("Published, suspect", {"markersize": 3, "fillstyle": "none", "alpha": 0.35}),
}


def claims(data: Collected) -> Figure:
    """Draw a forest plot: our effect on every claim that was measured, with its 95 % interval.

    Published effects on the same claim are marks beside ours. The claimed side is shaded.
    """
    rows = data.claims
    if len(rows):
        rows = rows[
            rows[["effect", "published"]].notna().any(axis=1) & (rows["metric"] != AVERAGE_WITHOUT_CROWS)
        ]
        rows = rows[rows["effect"].notna().groupby(rows["claim"]).transform("any")]
    if rows.empty:
        return drawing.not_measured("Claims")
    panels = [panel for _, panel in rows.groupby("claim", sort=False)]
    heights = np.cumsum([len(panel) + 5 for panel in panels])  # in lines: five for title and axis
    half = int(np.searchsorted(heights, heights[-1] / 2)) + 1
    columns = [column for column in (panels[:half], panels[half:]) if column]
    tallest = max(sum(len(panel) + 5 for panel in column) for column in columns)
    figure = drawing.framed(FULL_WIDTH, 0.14 * tallest + 0.3)
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    size = rcParams["xtick.labelsize"]
    for part, column in zip(parts, columns, strict=True):
        axes = part.subplots(len(column), 1, squeeze=False, height_ratios=[len(panel) for panel in column])
        for ax, panel in zip(axes[:, 0], column, strict=True):
            _forest(ax, panel)
            sentence = fit(panel["sentence"].iloc[0], FULL_WIDTH / len(columns) - 0.3, size)
            # From the left edge of the column, since the axes leave room for names there.
            drawing.headline(ax, sentence, size, part.transSubfigure)
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
    for edge, than in zip(edges, rows["threshold"], strict=True):
        ax.plot([than, than], edge, color=GREY, linewidth=0.8, zorder=1)
    low, high = ax.get_xlim()
    for edge, than in zip(edges, rows["threshold"], strict=True):
        side = {"higher": (than, high), "lower": (low, than)}.get(first["relation"])
        if side:
            ax.fill_betweenx(edge, *side, color=SHADE, zorder=0, linewidth=0)
    ratios = ["" if np.isnan(ratio) else f", {100 * ratio:.3g}%" for ratio in rows["ratio"]]
    names = [model + ratio for model, ratio in zip(rows["model"], ratios, strict=True)]
    ax.set(xlim=(low, high), yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(drawing.few(), steps=[1, 2, 5, 10]))
    ax.set_xlabel(f"Difference ({first['unit']})" if first["unit"] != "ratio" else "Ratio")


def comparison(data: Collected) -> Figure:
    """Draw the difference of every method from the reference, one line each, the best first.

    The order is that of the rows of `comparison.csv`, and the shaded side is the better one. A study with many
    methods shows the ratio nearest to `FOCUS` only.
    """
    rows = data.comparison
    agreement = {
        "overlap": Effect("Overlap", "{:.2f}", None, 0),
        "ablation_correlation": Effect("Ablation corr.", "{:.2f}", None, 0),
    }
    panels = {
        column: panel
        for column, panel in (agreement | effects_shown(data.declared)).items()
        if column in rows and rows[column].notna().any()
    }
    if rows.empty or not panels or (beside := rows[_beside(rows)]).empty:
        return drawing.not_measured("Comparison of methods")
    if len(beside) > MOST_LINES:
        beside = beside[beside["ratio"] == drawing.focus(beside)]
    blocks = [block for _, block in beside.groupby(["model", "ratio"], sort=False)]
    heights = [drawing.lines_height(len(block)) + 0.2 for block in blocks]
    figure, axes = drawing.grid([""] * len(blocks), [""] * len(panels), FULL_WIDTH, heights)
    for axes_of_column, (column, effect) in zip(axes.T, panels.items(), strict=True):
        span = _span(beside, column, effect)
        for ax, block in zip(axes_of_column, blocks, strict=True):
            if span is None:
                _agreement(ax, block, column, data.looks, _draws(rows, block))
            else:
                _effects(ax, block, column, data.looks, effect, span)
            # Many narrow panels: the unit on a line of its own.
            heading = effect.heading.replace(" (", "\n(") if len(panels) > 4 else effect.heading
            ax.set(xlabel=heading, ylim=(len(block) - 0.5, -0.5), yticks=[])
            ax.grid(False)
    for row, block in zip(axes, blocks, strict=True):
        row[0].set_yticks(range(len(block)), [data.looks[method].label for method in block["method"]])
        row[0].tick_params(axis="y", length=0)
        title = fit(_title(block, data.looks), FULL_WIDTH - 0.4)
        drawing.headline(row[0], title, rcParams["axes.titlesize"], figure.transSubfigure)
        for y, text in enumerate(block["differs"].fillna("")):
            where: dict[str, Any] = {
                "xycoords": ("axes fraction", "data"),
                "va": "center",
                "fontsize": drawing.small(),
            }
            row[-1].annotate(text, (1.05, y), **where)
    handles: list[Artist] = []
    if any(beside[f"{column}_low"].notna().any() for column in panels if f"{column}_low" in beside):
        handles.append(Line2D([], [], color=BLACK, linewidth=0.7, label="95 % interval"))
    handles.append(Patch(color=SHADE, linewidth=0, label="Better side"))
    if (rows["seed"].notna() & rows["overlap"].notna()).any():
        handles.append(Patch(color=DRAWS, linewidth=0, label="Other draws of the reference"))
    drawing.legend(figure, handles, "Right: the settings that differ from the reference's")
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
    removed = drawing.percents([block["ratio"].iloc[0]])[0]
    return f"{block['model'].iloc[0]}, {removed}, against {against}"


def _agreement(
    ax: Axes, block: pd.DataFrame, column: str, looks: dict[str, Look], draws: pd.DataFrame
) -> None:
    """Draw a column without intervals, and the range of the same number for other draws of the reference."""
    if draws[column].notna().any():
        low, high = draws[column].min(), draws[column].max()
        ax.axvspan(low, high, facecolor=DRAWS, edgecolor=DRAWS, linewidth=0.8, zorder=0)
    for y, (method, value) in enumerate(zip(block["method"], block[column], strict=True)):
        drawing.points(ax, looks[method], value, y)
    ax.set(xlim=(min(0, block[column].min()), 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])


class Span(NamedTuple):
    """The part of an axis that is drawn, and the rows beyond it."""

    low: float
    high: float
    beyond: pd.Index


def _span(rows: pd.DataFrame, column: str, effect: Effect) -> Span | None:
    """Return the span for all intervals but those of values far from the rest, which would hide the rest.

    Ratios are compared by their logarithms. None for a column without a value between better and worse.
    """
    if effect.than is None:
        return None
    change, back = (np.log, np.exp) if effect.than == 1 else (np.asarray, np.asarray)
    ends = pd.DataFrame({end: change(rows[column + end]) for end in ENDS}, rows.index) - change(effect.than)
    ends = ends.dropna(subset="").sort_values("", key=abs)
    distance, reach = ends[""].abs(), ends.abs().max(axis=1)
    # As far out as what is nearer reaches, three times, and not only beside some that hardly differ.
    known = reach.cummax().shift(fill_value=np.inf)
    far = ((distance > 3 * known) & (distance > 4 * distance.median())).cummax()
    near = ends[~far]
    low, high = min(near.min(axis=None), 0), max(near.max(axis=None), 0)
    margin = 0.06 * (high - low) or 0.1
    low, high = (float(back(change(effect.than) + end)) for end in (low - margin, high + margin))
    return Span(low, high, ends.index[far])


def _effects(
    ax: Axes, block: pd.DataFrame, column: str, looks: dict[str, Look], effect: Effect, span: Span
) -> None:
    """Draw a column of the comparison, one line per method, with intervals where known.

    A value beyond the span is a number at the edge.
    """
    than = effect.than
    assert than is not None  # else there is no span
    ratio = than == 1
    if ratio:
        ax.set_xscale("log")
    for y, (index, row) in enumerate(block.iterrows()):
        value = row[column]
        if index in span.beyond:
            right = value > than
            number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
            edge, text = (span.high, f"{number} →") if right else (span.low, f"← {number}")
            where: dict[str, Any] = {
                "ha": "right" if right else "left",
                "va": "center",
                "fontsize": drawing.small(),
            }
            ax.text(edge, y, text, **where)
        elif pd.notna(value):
            bar = [[value - row[f"{column}_low"]], [row[f"{column}_high"] - value]]
            drawing.points(ax, looks[row["method"]], value, y, xerr=None if np.isnan(bar).any() else bar)
    if effect.better:
        side = (span.low, than) if effect.better < 0 else (than, span.high)
        ax.axvspan(*side, color=SHADE, zorder=0, linewidth=0)
    ax.axvline(than, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlim(span.low, span.high)
    if ratio and span.high > 10 * span.low:
        drawing.log(ax, "x")
        return
    # Plain numbers, on a logarithmic axis too; not at the very edge, where a neighbour's would touch them.
    ax.xaxis.set_major_locator(MaxNLocator(drawing.few(), steps=[1, 2, 2.5, 5, 10], prune="both"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}".replace("-", "−")))
    ax.xaxis.set_minor_locator(NullLocator())
