"""The primary outcome of every method beside its reference's, the best first, with 95 % intervals of the
difference; the shaded side is the better one. A number with an arrow lies beyond the axis.
"""

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report.charts import focus, share_removed
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.figures.comparison import compared, forest
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.report.values import ALIKE, BETTER, WORSE, effects_shown, standing

LOOKS = {
    BETTER: Look("Better", "#0072B2", "o"),
    ALIKE: Look("No significant difference", GREY, "D"),
    WORSE: Look("Worse", "#D55E00", ">"),
    "": Look("No interval", GREY, "P"),
}


class Answer(FigurePublication):
    order = 0
    reads = ("comparison.csv",)
    empty = "The primary outcome: not measured on two methods"

    def values(self, data: Collected) -> pd.DataFrame:
        rows, shown = compared(data), effects_shown(data.declared)
        rows = rows[rows["seed"].isna() & (rows["method"] != rows["reference"])]
        rows = rows[rows["effect"].isin([name for name, effect in shown.items() if effect.better])]
        if rows.empty:
            return rows
        first = [*rows["primary"].unique(), "js_distance", *shown]
        chosen = next(name for name in first if name in {*rows["effect"]})
        rows = rows[rows["effect"] == chosen].drop(columns=["seed", "primary"])
        rows = pd.concat(
            [part[part["ratio"] == focus(part)] for _, part in rows.groupby("model", sort=False)]
        )
        standings = [standing(shown[chosen], row.low, row.high) for row in rows.itertuples()]
        return rows.assign(standing=standings).sort_values(
            "value", ascending=shown[chosen].better < 0, kind="stable"
        )

    def draw(self, values: pd.DataFrame, data: Collected) -> Figure:
        effect = effects_shown(data.declared)[values["effect"].iloc[0]]
        labels = {method: look.label for method, look in data.looks.items()}
        rows = []
        for model, part in values.groupby("model"):
            against = " or ".join(dict.fromkeys(part["reference"].map(labels)))
            chart = replace(forest(part, part[:0], part, effect, data.looks, [*part["method"]]), looks=LOOKS)
            name = f"{model}, {share_removed(focus(part))}, against {against}"
            rows.append((name, [chart]))
        return sheet(rows, "Bars: 95 % intervals. Shaded: the better side", 3.7)
