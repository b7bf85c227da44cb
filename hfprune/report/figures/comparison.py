"""The difference of every method from the reference, the best first, with 95 % intervals; the shaded side is
the better one. A number with an arrow lies beyond the axis. The grey band is the overlap of the reference
with its own other draws.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.against_reference import ENDS
from hfprune.report.charts import Chart, focus, share_removed, span
from hfprune.report.collected import Collected
from hfprune.report.drawing.panels import sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.report.values import Effect, effects_shown

MOST_LINES = 30  # in a comparison at all ratios
OVERLAP = {"overlap": Effect("Overlap", "{:.2f}", None, 0)}  # has no value between better and worse


class ComparisonFigure(FigurePublication):
    """A study with many methods shows the ratio nearest to `FOCUS` only."""

    order = 14
    reads = ("comparison.csv",)
    empty = "Comparison of methods: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        rows = compared(data)
        beside = rows[rows["method"] != rows["reference"]]
        if len(beside[["model", "ratio", "method"]].drop_duplicates()) > MOST_LINES:
            rows = rows[rows["ratio"] == focus(beside)]
        return rows if len(beside) else rows[:0]

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        draws = values[values["seed"].notna()]
        beside = values[values["seed"].isna() & (values["method"] != values["reference"])]
        shown = OVERLAP | effects_shown(data.declared)
        rows = []
        for (model, ratio), block in beside.groupby(["model", "ratio"], sort=False):
            names = {data.looks[name].label for name in block["reference"]}
            against = names.pop() if len(names) == 1 else "the reference with the same calibration"
            methods = [*dict.fromkeys(block["method"])]
            own = draws[(draws["model"] == model) & (draws["ratio"] == ratio)]
            cells: list[Chart | str] = []
            for column in [name for name in shown if name in {*beside["effect"]}]:
                of_effect = own[own["effect"] == column] if shown[column].neutral is None else own[:0]
                part = block[block["effect"] == column]
                if part.empty:
                    cells.append(f"{shown[column].heading}\nnot measured")
                    continue
                alike = beside[beside["effect"] == column]
                cells.append(forest(part, of_effect, alike, shown[column], data.looks, methods))
            rows.append((f"{model}, {share_removed(ratio)}, against {against}", cells))
        return sheet(rows, "Bars: 95 % intervals. Shaded: the better side")


def compared(data: Collected) -> pd.DataFrame:
    effects = [*OVERLAP, *effects_shown(data.declared)]
    keys = ["model", "ratio", "method", "seed", "reference", "primary", "differs"]
    parts = [
        data.comparison.reindex(columns=[*keys, *(name + end for end in ENDS)])
        .set_axis([*keys, "value", "low", "high"], axis=1)
        .assign(effect=name)
        for name in effects
        if name in data.comparison
    ]
    columns = [*keys[:5], "effect", "value", "low", "high", *keys[5:]]
    if not parts:
        return pd.DataFrame(columns=columns)
    rows = pd.concat(parts).sort_index(kind="stable").dropna(subset="value")
    texts = dict.fromkeys(keys[5:], object)
    return rows[columns].astype(texts).fillna(dict.fromkeys(texts, ""))


def forest(
    rows: pd.DataFrame,
    draws: pd.DataFrame,
    alike: pd.DataFrame,
    effect: Effect,
    looks: dict[str, Look],
    methods: list[str],
) -> Chart:
    place = rows["method"].map({method: float(i) for i, method in enumerate(methods)})
    rows = rows.assign(group=rows.get("standing", rows["method"]), place=place)
    names = [looks[method].label for method in methods]
    if effect.neutral is None:
        band = draws.assign(
            group="", place=np.nan, low=draws["value"].min(), high=draws["value"].max(), value=np.nan
        )
        rows = pd.concat([rows, band[:1]]) if len(band) else rows
        reach = min(0, alike["value"].min() - 0.1), 1.05
        return Chart(rows, looks, effect.heading, names=names, ends=reach)
    log, rows = effect.neutral == 1, rows.assign(neutral=effect.neutral)
    reach = span(alike, effect.neutral, log)
    return Chart(rows, looks, effect.heading, names=names, log=log, ends=reach, better=effect.better)
