"""The difference of every method from the reference, the best first, with 95 % intervals; the shaded side is
the better one. A number with an arrow lies beyond the axis. The grey band is the overlap of the reference
with its own other draws.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.report.charts import Chart, focus, share_removed, span
from hfprune.report.drawing.panels import sheet
from hfprune.report.effects import AT, GROUP, agreement_on_neurons, beside_reference
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.results.declarations import Declaration
from hfprune.results.effect import DIRECTIONS
from hfprune.results.files import NEURONS
from hfprune.results.reader import Results
from hfprune.study import paths

MOST_LINES = 30  # in a comparison at all ratios
OVERLAP = "overlap"
DRAWN = [
    "model",
    "calibrated",
    "ratio",
    "method",
    "draw",
    "reference",
    "outcome",
    "value",
    "low",
    "high",
    "holm",
    "differs",
]


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
        """Draw one row of panels per model, calibration and ratio, with a panel per outcome."""
        draws = values[values["draw"].notna()]
        beside = values[values["draw"].isna() & (values["method"] != values["reference"])]
        outcomes = data.declared.first_outcomes()
        rows = []
        for (model, calibrated, ratio), block in beside.groupby(GROUP, sort=False):
            names = {looks_of(data)[name].label for name in block["reference"]}
            against = names.pop() if len(names) == 1 else "the reference"
            measured = block[block["outcome"] != OVERLAP]
            methods = [*dict.fromkeys([*measured["method"], *block["method"]])]
            own = draws[(draws[GROUP] == [model, calibrated, ratio]).all(axis=1)]
            cells: list[Chart | str] = []
            if OVERLAP in {*beside["outcome"]}:
                cells.append(_overlaps(block[block["outcome"] == OVERLAP], own, looks_of(data), methods))
            for name in [name for name in outcomes if name in {*beside["outcome"]}]:
                part, alike = (some[some["outcome"] == name] for some in (block, beside))
                if part.empty:
                    cells.append(f"{outcomes[name].heading}\nnot measured")
                    continue
                cells.append(forest(part, alike, outcomes[name], looks_of(data), methods))
            parts = [model, calibrated, share_removed(ratio), f"against {against}"]
            rows.append((", ".join(filter(None, parts)), cells))
        band = ". Grey band: the reference's own overlap with its other draws" * bool(len(draws))
        return sheet(rows, f"Bars: 95 % intervals. Shaded: the better side{band}")


def _overlaps(
    rows: pd.DataFrame, draws: pd.DataFrame, looks: dict[str, Look], methods: list[str]
) -> Chart | str:
    if rows.empty:
        return "Overlap\nnot measured"
    rows = _placed(rows, methods)
    if len(draws):
        ends = {"low": draws["value"].min(), "high": draws["value"].max()}
        band = draws[:1].assign(group="", place=np.nan, value=np.nan, **ends)
        rows = pd.concat([rows, band])
    names = [looks[method].label for method in methods]
    return Chart(rows, looks, "Overlap", names=names, ends=(min(0, rows["value"].min() - 0.1), 1.05))


def _placed(rows: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    place = rows["method"].map({method: float(i) for i, method in enumerate(methods)})
    return rows.assign(group=rows.get("standing", rows["method"]), place=place)


def forest(
    rows: pd.DataFrame,
    alike: pd.DataFrame,
    declared: Declaration,
    looks: dict[str, Look],
    methods: list[str],
) -> Chart:
    """Return a chart of effects, one line per method; `alike` are the rows that share its axis."""
    log, rows = declared.neutral == 1, _placed(rows, methods).assign(neutral=declared.neutral)
    reach, names = span(alike, declared.neutral, log), [looks[method].label for method in methods]
    better = DIRECTIONS.get(declared.metric.better, 0)
    return Chart(rows, looks, declared.heading, names=names, log=log, ends=reach, better=better)
