"""Seconds of scoring by each method, the fastest on top, with 95 % intervals over draws where there are several."""

from hfprune.report import charts
from hfprune.report.publication import FigurePublication


class ScoringTime(FigurePublication):
    """One line per model and method."""

    order = 16

    def make(self, data):
        """Draw the measure `cost`."""
        rows = data.results.query("measure == 'cost' and metric == 'seconds'")
        if rows.empty:
            return "Time of scoring: not measured"
        values = charts.summary(rows).sort_values("value", ignore_index=True)
        points = values.assign(
            group=values["method"],
            place=values.index.astype(float),
            low=values["value"] - values["half"],
            high=values["value"] + values["half"],
        )
        names = [f"{data.looks[row.method].label}, {row.model}" for row in values.itertuples()]
        return charts.Chart(points, data.looks, charts.Axis("Seconds of scoring"), names=names)
