"""The difference of every method from its reference in the primary outcome, the best first, with 95 % intervals;
the shaded side is better. A number with an arrow lies beyond the axis.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report.charts import BARS, MARKS, focus, share_removed
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.effects import GROUP, beside_reference, effects_of, ranking
from hfprune.report.figures.effects import forest
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.results.effect import ALIKE, BETTER, WORSE
from hfprune.results.reader import Results
from hfprune.study import paths

LOOKS = {
    BETTER: Look("Better", "#0072B2", "o"),
    ALIKE: Look("Not significant", GREY, "D"),
    WORSE: Look("Worse", "#D55E00", ">"),
    "": Look("No interval", GREY, "P"),
}


class Answer(FigurePublication):
    """Of outcomes with a better direction, the one that ranks methods."""

    order = 0
    reads = (paths.EFFECTS,)
    empty = "The primary outcome: not measured on two methods"

    def values(self, data: Results) -> pd.DataFrame:
        """Return the effects on the outcome that ranks methods, at the ratio nearest to `FOCUS`."""
        rows = beside_reference(data).rename(columns={"against": "reference"})
        rows = rows[rows["better"] != ""]
        if rows.empty:
            return rows
        chosen = ranking(data, rows)
        rows = rows[rows["outcome"] == chosen]
        rows = pd.concat(
            [part[part["ratio"] == focus(part)] for _, part in rows.groupby(GROUP[:2], sort=False)]
        )
        standings = [effect.standing for effect in effects_of(rows)]
        shown = [*GROUP, "method", "reference", "outcome", "value", "low", "high", "holm", "differs"]
        rising = rows["better"].iloc[0] == "lower"
        return rows[shown].assign(standing=standings).sort_values("value", ascending=rising, kind="stable")

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        """Draw one panel per model and calibration."""
        declared = data.declared.first_outcomes()[values["outcome"].iloc[0]]
        labels = {method: look.label for method, look in looks_of(data).items()}
        rows = []
        for (model, calibrated), part in values.groupby(GROUP[:2]):
            chart = replace(forest(part, part, declared, looks_of(data), [*part["method"]]), looks=LOOKS)
            references = dict.fromkeys(part["reference"].map(labels))
            against = next(iter(references)) if len(references) == 1 else "the method below each name"
            if len(references) > 1:
                beside = zip(chart.names, part["reference"].map(labels), strict=True)
                chart = replace(chart, names=[f"{name}\n− {other}" for name, other in beside], tall=2)
            parts = [model, calibrated, share_removed(focus(part)), f"against {against}"]
            rows.append((", ".join(filter(None, parts)), [chart]))
        return sheet(rows, f"{BARS}. Shaded: the better side. {MARKS}", 3.7)
