"""Distance to the dense model's output, and perplexity, against the share of parameters removed, or by
method, the best first, where all have one share, with 95 % intervals; those of perplexities are intervals of
the logarithm.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.report import charts
from hfprune.report.drawing.panels import sheet
from hfprune.report.looks import looks_of
from hfprune.report.publication import FigurePublication
from hfprune.report.values import scaled
from hfprune.results.declarations import ALL_SHOWN
from hfprune.results.reader import Results

KINDS = ("js_distance", "jaccard", "perplexity")  # ends of the metrics' names; the others if there is none


class FidelityFigure(FigurePublication):
    """A panel per metric and text, of the metrics in `KINDS` where there are any."""

    order = 3
    shows = "fidelity perplexity"
    empty = "Fidelity: not measured"

    def values(self, data: Results) -> pd.DataFrame:
        rows = data.levels[data.levels["measure"].isin(data.declared.of_kind(*ALL_SHOWN))]
        known = rows["metric"].str.endswith(KINDS)
        return scaled(rows[known] if known.any() else rows)

    def draw(self, values: pd.DataFrame, data: Results) -> Figure:
        measured = values[charts.OUTCOME].drop_duplicates().itertuples(index=False, name=None)
        ranks = {kind: i for i, kind in enumerate(KINDS)}
        keys = sorted(
            measured, key=lambda key: (ranks.get(key[1].partition("_")[2], ranks.get(key[1], 9)), key)
        )
        labels = {}
        for measure, metric, corpus in keys:
            alike = [key for key in keys if key[1] == metric]
            name = measure if [key[2] for key in alike].count(corpus) > 1 else corpus
            labels[measure, metric, corpus] = data.declared.label_of(metric) + f", {name}" * (len(alike) > 1)
        rows = charts.outcomes(values, labels, looks_of(data), data.declared)
        return sheet(rows, charts.meaning(values, "documents"))
