"""Our effect for each claim of the paper that was measured, with its 95 % interval, and the published effect as
a cross; the claimed side is shaded. Claims that follow from the parameter budget are left out.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.effects.condition import MEASURED
from hfprune.report.charts import BARS, MARKS, Chart, span
from hfprune.report.drawing.marks import BLACK, GREY
from hfprune.report.drawing.panels import sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.style import VERDICT_LOOKS, Look
from hfprune.results.averages import AVERAGE_WITHOUT_CROWS
from hfprune.results.reader import Results
from hfprune.rounding import percent

LOOKS = VERDICT_LOOKS | {
    "ok": Look("Published", BLACK, "x"),
    "doubted": Look("Published, suspect or tentative", GREY, "x"),
}
CORRECTED = ("reproduced", "contradicted")  # verdicts that hold after Holm's correction


class ClaimsFigure(FigurePublication):
    """A panel per claim with a line for each model and ratio; points tell the verdicts."""

    order = 13
    reads = ("claims.csv",)
    empty = "Claims: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        rows = data.claims
        if rows.empty:
            return rows
        shown = rows[["value", "published"]].notna().any(axis=1)
        rows = rows[shown & (rows["metric"] != AVERAGE_WITHOUT_CROWS) & (rows["basis"] == MEASURED)]
        rows = rows[rows["value"].notna().groupby(rows["claim"]).transform("any")]
        effect = ["value", "low", "high", "published", "confidence", "threshold", "relation", "label", "unit"]
        return rows[["claim", "sentence", "model", "calibrated", "ratio", "verdict", *effect]]

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        panels = [panel for _, panel in values.groupby("claim", sort=False)]
        cells = [_forest(panel) for panel in sorted(panels, key=len)]
        rows = [("", cells[i : i + 2]) for i in range(0, len(cells), 2)]
        return sheet(rows, f"{BARS}. Shaded: the claimed side. {MARKS}")


def _forest(rows: pd.DataFrame) -> Chart:
    first = rows.iloc[0]
    rows = rows.assign(place=[*map(float, range(len(rows)))], neutral=rows["threshold"])
    ours = rows.assign(group=rows["verdict"], hollow=~rows["verdict"].isin(CORRECTED), published=False)
    theirs = rows.assign(
        group=rows["confidence"].map(lambda word: word if word == "ok" else "doubted"), low=None, high=None
    )
    drawn = pd.concat(
        [
            ours[ours["group"].isin([*LOOKS])],
            theirs.assign(value=rows["published"], hollow=False, published=True),
        ]
    )
    ratios = ["" if pd.isna(ratio) else f", {percent(ratio)}" for ratio in rows["ratio"]]
    texts = [f", {text}" if text else "" for text in rows["calibrated"]]
    names = [*map("".join, zip(rows["model"], texts, ratios, strict=True))]
    drawn = drawn.dropna(subset="value").astype({"low": float, "high": float})
    better = {"higher": 1, "lower": -1}.get(first["relation"], 0)
    heading, ends = first["sentence"], span(drawn, first["threshold"], log=False, near=False)
    axis = first["label"] + ("" if pd.isna(first["unit"]) else f" ({first['unit']})")
    return Chart(drawn, LOOKS, axis, names=names, heading=heading, ends=ends, better=better)
