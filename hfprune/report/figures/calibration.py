"""The gain from more calibration: agreement of halves and, for methods that differ only in their number of
sequences, JS distance and perplexity.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.curves import OUTCOMES, SCORED, by_sequences
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.panels import sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.style import metric_label

AGREEMENT = "Agreement of halves"


class CalibrationFigure(FigurePublication):
    """The agreement is the course of the method with the most sequences; outcomes are at the lowest ratio."""

    order = 11
    empty = "Agreement of calibration halves: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        marks = data.marks[data.marks["method"].isin([*data.looks])]
        if marks.empty:
            return marks
        # The last of those with the most sequences has the simplest allocation.
        simple = marks.assign(simple=marks["allocation"].eq("uniform"))
        by_length = simple.sort_values(["sequences", "simple"], kind="stable")
        longest = by_length.groupby(["model", *SCORED])["method"].last()
        # Halves are compared in each layer, and so without the budget's division among layers.
        curves = (
            by_length.groupby(["model", *SCORED[:-1]])["method"].last().reset_index()[["model", "method"]]
        )
        halves = (
            marks.merge(curves).groupby(["model", "method", "sequences"], as_index=False)["agreement"].mean()
        )
        parts = [halves.rename(columns={"agreement": "value"}).assign(outcome=AGREEMENT)]
        rows = by_sequences(data.results, data.marks, data.declared)
        rows = rows[rows["ratio"] == rows.groupby("model")["ratio"].transform("min")]
        rows = rows[rows.groupby(["model", *SCORED])["sequences"].transform("nunique") > 1]
        rows = rows.drop(columns="method").join(longest, on=["model", *SCORED])
        for metric in OUTCOMES:
            value, half = rows[metric], rows[f"{metric}_half"]
            known = rows.assign(
                outcome=metric_label(metric), value=value, low=value - half, high=value + half
            )
            parts.append(known.dropna(subset="value"))
        columns = ["model", "outcome", "method", "sequences", "value", "low", "high"]
        return pd.concat([part for part in parts if len(part)], ignore_index=True).reindex(columns=columns)

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        values = values.rename(columns={"method": "group", "sequences": "place"})
        outcomes = [*dict.fromkeys(values["outcome"])]
        cells = {
            key: charts.Chart(part, data.looks, key[1], "Calibration sequences", log_place=True)
            for key, part in values.groupby(["model", "outcome"])
        }
        rows = [
            (model, [cells.get((model, name), f"{name}: not measured") for name in outcomes])
            for model in sorted({*values["model"]})
        ]
        title = "Bars: 95 % intervals over documents" * (len(outcomes) > 1)
        return sheet(rows, title, None if len(outcomes) > 1 else 4.6)
