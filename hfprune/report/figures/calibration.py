"""The share of kept neurons on which two halves of the calibration sequences agree, against their number."""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.results.curves import SCORED
from hfprune.results.reader import Results
from hfprune.study.labels import calibration_label


class CalibrationFigure(FigurePublication):
    """Means over draws in a panel per model and calibration, against a logarithmic number of sequences."""

    order = 11
    shows = "whole"
    empty = "Agreement of calibration halves: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        # Where there are sizes, the figure `dose` shows samples of them in place of halves.
        whole = [name for name, read in data.study.calibrations.items() if not read.sizes]
        marks = data.marks[data.marks["calibration"].isin(whole)]
        # Halves are compared in each layer, and so without the budget's division among layers: of methods that
        # differ in it alone, the last has the simplest.
        simple = marks.assign(simple=marks["allocation"].eq("uniform"))
        by_length = simple.sort_values(["sequences", "simple"], kind="stable")
        last = by_length.groupby(["model", *SCORED[:-1]], as_index=False)["method"].last()
        kept = marks.merge(last[["model", "calibration", "method"]])
        rows = kept.groupby(["model", "calibration", "method", "sequences"], as_index=False)
        return rows["agreement"].mean().rename(columns={"agreement": "value"})

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        values = values.rename(columns={"method": "group", "sequences": "place"})
        values = values.assign(low=float("nan"), high=float("nan"))
        axes = "Agreement of halves", "Calibration sequences"
        rows = []
        for (model, calibration), part in values.groupby(["model", "calibration"]):
            parts = [model, calibration_label(data.study, calibration, 0)]
            chart = charts.Chart(part, looks_of(data), *axes, log_place=True)
            rows.append((", ".join(filter(None, parts)), [chart]))
        return sheet(rows, "", 4.6)
