"""The agreement of two halves of the calibration sequences on the neurons to keep, against their number."""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.curves import SCORED
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.panels import sheet
from hfprune.report.publication import FigurePublication


class CalibrationFigure(FigurePublication):
    """Means over seeds in a panel per model, against a logarithmic number of sequences."""

    order = 11
    shows = "whole"
    empty = "Agreement of calibration halves: not measured"

    def values(self, data: Collected) -> pd.DataFrame:
        # Where there are sizes, the figure `dose` shows samples of them in place of halves.
        marks = data.marks[data.marks["method"].isin([*data.looks] * (not data.study.calibration.sizes))]
        # Halves are compared in each layer, and so without the budget's division among layers: of methods that
        # differ in it alone, the last has the simplest.
        simple = marks.assign(simple=marks["allocation"].eq("uniform"))
        by_length = simple.sort_values(["sequences", "simple"], kind="stable")
        last = by_length.groupby(["model", *SCORED[:-1]])["method"].last().reset_index()[["model", "method"]]
        rows = marks.merge(last).groupby(["model", "method", "sequences"], as_index=False)
        return rows["agreement"].mean().rename(columns={"agreement": "value"})

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        values = values.rename(columns={"method": "group", "sequences": "place"})
        values = values.assign(low=float("nan"), high=float("nan"))
        axes, by_model = ("Agreement of halves", "Calibration sequences"), values.groupby("model")
        rows = [(model, [charts.Chart(part, data.looks, *axes, log_place=True)]) for model, part in by_model]
        return sheet(rows, "", 4.6)
