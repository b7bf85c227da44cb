"""The gain from more calibration: agreement of halves and, for methods that differ only in their number of
sequences, JS distance and perplexity.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.by_sequences import OUTCOMES, SCORED, by_sequences
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import column, full, sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.style import metric_label


class Calibration(FigurePublication):
    """One row of panels per model.

    The agreement is the course of the method with the most sequences. The outcomes are at the lowest ratio;
    they have no panel in a study without methods that differ only in their number of sequences.
    """

    order = 11

    def make(self, data: Collected) -> Figure | str:
        """Draw the agreement, and the outcomes that there are."""
        if data.marks.empty:
            return "Agreement of calibration halves: not measured"
        rows = by_sequences(data.results, data.marks, data.declared)
        rows = rows[rows["ratio"] == rows.groupby("model")["ratio"].transform("min")]
        rows = rows[rows.groupby(["model", *SCORED])["sequences"].transform("nunique") > 1]
        outcomes = [metric for metric in OUTCOMES if rows[metric].notna().any()]
        models = sorted({*data.marks["model"]})
        cells = [_charts(data, model, rows[rows["model"] == model], outcomes) for model in models]
        width = full() if outcomes else column(1.4)
        title = "Bars: 95 % intervals over documents" * bool(outcomes)
        return sheet(cells, models, 1.9, title, width, sharex=True)


def _charts(data: Collected, model: str, rows: pd.DataFrame, outcomes: list[str]) -> list[charts.Chart]:
    """Return the chart of the agreement of one model, and those of its outcomes."""
    marks = data.marks[data.marks["model"] == model]
    # The last of those with the most sequences has the simplest allocation.
    simple = marks.assign(simple=marks["allocation"].eq("uniform"))
    by_length = simple.sort_values(["sequences", "simple"], kind="stable")
    longest = by_length.groupby(SCORED, sort=False)["method"].last()
    # Halves are compared in each layer, and so without the budget's division among layers.
    curves = by_length.groupby(SCORED[:-1], sort=False)["method"].last()
    agreement = charts.agreement_of_halves(marks[marks["method"].isin(curves)], data.looks)
    rows = rows.join(longest.rename("group"), on=SCORED).rename(columns={"sequences": "place"})
    found = [agreement]
    for metric in outcomes:
        value, half = rows[metric], rows[f"{metric}_half"]
        points = rows.assign(value=value, low=value - half, high=value + half)
        found.append(charts.Chart(points, data.looks, charts.Axis(metric_label(metric)), agreement.place))
    return found
