"""Learning curves of recovery: the loss on held-out pairs (lower is better) against the tokens trained on. The
first point of a curve is before training. A flat end may be the decay of the learning rate.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.results.reader import Results

CURVE = ["model", "ratio", "calibrated", "method", "draw", "recovery"]


class LearningFigure(FigurePublication):
    """A logarithmic axis has no place for 0: the loss before training is at half the tokens of the first step."""

    order = 12
    shows = "lora"
    empty = "Learning curves of recovery: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        curves = data.curves[[*CURVE, "step", "tokens", "loss"]]
        return curves.sort_values([*CURVE, "step"], ignore_index=True)

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        curves = values.rename(columns={"method": "group", "tokens": "place", "loss": "value"})
        curves, trained = curves.assign(low=np.nan, high=np.nan), curves["step"] > 0
        before = curves[trained].groupby("model")["place"].min() / 2
        curves["place"] = curves["place"].where(trained, curves["model"].map(before))
        cells = []
        for model, part in curves.groupby("model", sort=False):
            for ratio in charts.ratios(part):
                shown = part[part["ratio"].isin([0.0, ratio])]
                # A gap behind each curve parts those of one method.
                ends = shown.groupby(["group", "calibrated", "draw", "recovery"]).tail(1)
                shown = pd.concat([shown, ends.assign(value=np.nan)]).sort_index(kind="stable")
                heading = f"{model}, {charts.share_removed(ratio)}"
                titles = charts.directed("Held-out loss (nats/token)", "lower"), "Trained tokens"
                cells.append(charts.Chart(shown, looks_of(data), *titles, heading=heading, log_place=True))
        title = "First point: before training. Before the end of a curve, the learning-rate schedule is unfinished"
        return sheet([("", cells)], title, 4.6 if len(cells) == 1 else None, 2.2)
