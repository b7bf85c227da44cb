"""The overlap of each method's kept neurons with entropy's, by layer; the dashed line is a random choice."""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.drawing.marks import BLACK
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.style import Look
from hfprune.results.reader import Results
from hfprune.study.reference import PAPERS


class Overlap(FigurePublication):
    """Means over draws of the Jaccard index, in a panel per model and ratio."""

    order = 6
    reads = ("layers.parquet",)
    empty = "Overlap of kept neurons: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        pairs = data.overlap
        present = {*pairs["method_a"], *pairs["method_b"]}
        reference = next((method for method in (PAPERS, *looks_of(data)) if method in present), PAPERS)
        pairs = pairs[(pairs["method_a"] == reference) | (pairs["method_b"] == reference)]
        other = pairs["method_b"].where(pairs["method_a"] == reference, pairs["method_a"])
        by = ["model", "calibrated", "ratio", "reference", "method", "layer"]
        pairs = pairs.assign(method=other, reference=reference)
        return pairs.groupby(by, as_index=False)[["jaccard", "expected"]].mean()

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        looks = looks_of(data) | {"chance": Look("Chance", BLACK, "", "--")}
        title = f"Jaccard with {looks_of(data)[values['reference'].iloc[0]].label}"
        names = {"method": "group", "jaccard": "value", "layer": "place"}
        chance = values.groupby(["model", "calibrated", "ratio", "layer"], as_index=False)["expected"].mean()
        drawn = [values.rename(columns=names), chance.rename(columns=names | {"expected": "value"})]
        lines = pd.concat(drawn).fillna({"group": "chance"}).assign(low=float("nan"), high=float("nan"))
        rows = []
        for (model, calibrated), part in lines.groupby(["model", "calibrated"]):
            cells = []
            for ratio in charts.ratios(part):
                parts = [model, calibrated, charts.share_removed(ratio)]
                heading, shown = ", ".join(filter(None, parts)), part[part["ratio"] == ratio]
                cells.append(charts.Chart(shown, looks, title, "Layer", heading=heading, ends=(0, 1)))
            rows.append(("", cells))
        return sheet(rows)
