"""The difference of every method from the reference in each outcome, the best first, with 95 % intervals; the
shaded side is better. A number with an arrow lies beyond the axis. The grey band is the overlap of the reference
with itself on other calibration samples.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.report.charts import BARS, MARKS, Chart, directed, focus, share_removed, span
from hfprune.report.drawing.panels import sheet
from hfprune.report.effects import AT, GROUP, agreement_on_neurons, beside_reference
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.results.declarations import Declaration
from hfprune.results.effect import DIRECTIONS
from hfprune.results.files import NEURONS
from hfprune.results.reader import Results
from hfprune.statistics.estimates import ALPHA
from hfprune.study import paths

MOST_LINES = 30  # in a comparison at all ratios
OVERLAP = "overlap"
DRAWN = [*GROUP, "method", "draw", "reference", "outcome", "value", "low", "high", "holm", "differs"]


class EffectsFigure(FigurePublication):
    """A study with many methods shows the ratio nearest to `FOCUS` only."""

    order = 14
    reads = (paths.EFFECTS, NEURONS)
    empty = "Comparison of methods: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        """Return the effects of methods beside their references, and the overlap of their neurons."""
        effects = beside_reference(data).rename(columns={"against": "reference"})
        parts = [effects.assign(draw=np.nan)]
        if len(data.neurons):
            overlaps = (
                agreement_on_neurons(data).dropna(subset="overlap").rename(columns={"overlap": "value"})
            )
            parts = [overlaps.assign(outcome=OVERLAP), *parts]
        rows = pd.concat([part.reindex(columns=DRAWN) for part in parts if len(part)] or [effects[:0]])
        rows = rows.dropna(subset="value")
        beside = rows[rows["method"] != rows["reference"]]
        if len(beside[AT].drop_duplicates()) > MOST_LINES:
            rows = rows[rows["ratio"] == focus(beside)]
        return rows if len(beside) else rows[:0]

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        """Draw a row of panels per outcome, models side by side; of one model, a row per calibration and ratio."""
        draws = values[values["draw"].notna()]
        beside = values[values["draw"].isna() & (values["method"] != values["reference"])]
        several, outcomes = beside["model"].nunique() > 1, data.declared.first_outcomes()
        rows: dict[str, list[Chart | str]] = {}
        for (model, calibrated, ratio), block in beside.groupby(GROUP, sort=False):
            where = ", ".join(filter(None, [model, calibrated, share_removed(ratio)]))
            measured = block[block["outcome"] != OVERLAP]
            methods = [*dict.fromkeys([*measured["method"], *block["method"]])]
            own = draws[(draws[GROUP] == [model, calibrated, ratio]).all(axis=1)]
            for name in [name for name in (OVERLAP, *outcomes) if name in {*beside["outcome"]}]:
                part, shared = (some[some["outcome"] == name] for some in (block, beside))
                # Panels of other models have names of their own, so none needs lines of what it lacks.
                shown = [method for method in methods if not several or method in {*part["method"]}]
                title = "Overlap" if name == OVERLAP else outcomes[name].heading
                cell: Chart | str = f"{title}, {where}: not measured"
                if len(part) and name == OVERLAP:
                    cell = _overlaps(part, own, looks_of(data), shown)
                elif len(part):
                    cell = forest(part, shared, outcomes[name], looks_of(data), shown)
                if isinstance(cell, Chart) and several:
                    cell = replace(cell, heading=where, tall=0.85)
                rows.setdefault(name if several else where, []).append(cell)
        references = {looks_of(data)[name].label for name in beside["reference"]}
        against = f"from {references.pop()}" if len(references) == 1 else "from the reference"
        band = ". Grey band: the reference's overlap with itself on other samples" if len(draws) else ""
        title = f"Differences {against}. {BARS}. Shaded: the better side. {MARKS}{band}"
        return sheet([("" if several else name, cells) for name, cells in rows.items()], title)


def _overlaps(rows: pd.DataFrame, draws: pd.DataFrame, looks: dict[str, Look], methods: list[str]) -> Chart:
    rows = _placed(rows, methods).assign(hollow=True)
    if len(draws):
        ends = {"low": draws["value"].min(), "high": draws["value"].max()}
        band = draws[:1].assign(group="", place=np.nan, value=np.nan, **ends)
        rows = pd.concat([rows, band])
    names = [looks[method].label for method in methods]
    reach = min(0, rows["value"].min() - 0.1), 1.05
    return Chart(rows, looks, "Overlap", names=names, ends=reach)


def _placed(rows: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    place = rows["method"].map({method: float(i) for i, method in enumerate(methods)})
    return rows.assign(group=rows.get("standing", rows["method"]), place=place)


def forest(
    rows: pd.DataFrame,
    shared: pd.DataFrame,
    declared: Declaration,
    looks: dict[str, Look],
    methods: list[str],
) -> Chart:
    """Return a chart of effects, one line per method; `shared` are the rows that share its axis."""
    log, rows = declared.neutral == 1, _placed(rows, methods).assign(neutral=declared.neutral)
    rows["hollow"] = ~(rows["holm"] < ALPHA)
    reach, names = span(shared, declared.neutral, log), [looks[method].label for method in methods]
    better = DIRECTIONS.get(declared.metric.better, 0)
    title = directed(declared.heading, declared.metric.better)
    return Chart(rows, looks, title, names=names, log=log, ends=reach, better=better)
