"""Distance to the dense model's output, and perplexity, against the share of parameters removed, or by
method, the best first, where all have one share, with 95 % intervals; on a logarithmic axis they are
intervals of the logarithm.
"""

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.declarations import ALL_SHOWN
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import at_one_ratio, lines_height, sheet
from hfprune.report.publication import FigurePublication
from hfprune.report.style import metric_label

KINDS = (
    "js_distance",
    "jaccard",
    "perplexity",
)  # ends of the metrics' names; the others only if there is none
PLACE = ["metric", "measure", "task"]
Place = tuple[str, ...]


class Fidelity(FigurePublication):
    """One row of panels per model and recovery, one column per metric and corpus."""

    order = 3
    shows = "fidelity perplexity"

    def make(self, data: Collected) -> Figure | str:
        """Draw JS distance, top-k Jaccard and perplexity."""
        values = data.levels[data.levels["measure"].isin(data.declared.of_kind(*ALL_SHOWN))]
        if values.empty:
            return "Fidelity: not measured"
        values = at_one_ratio(values)
        labels = _labels(values)
        wide = charts.wide(values[values["metric"] == "perplexity"], PLACE)
        better = {place: data.declared.find(place[1], place[0]).metric.better for place in labels}
        names, cells, heights, models = [], [], [], []
        # Axes of ratios are not shared: a facet of recovered models may have fewer than others.
        for name, facet in charts.facets(values).items():
            single = charts.of_one_ratio(facet)
            names.append(f"{name}, {charts.percents(charts.ratios(facet))[0]}" if single else name)
            heights.append(lines_height(len(charts.pruned(facet, data.looks))) if single else 1.8)
            parts = dict([*facet.groupby(PLACE)])
            models.append(facet["model"].iloc[0])
            cells.append(charts.row_of(parts, labels, data.looks, better, wide[models[-1]], single))
        title = charts.meaning(values, "documents")
        title = title if len(names) > 1 else charts.with_ratio(values, title)
        columns = [charts.with_shared_axes(column, models) for column in zip(*cells, strict=True)]
        return sheet([*zip(*columns, strict=True)], names, heights, title)


def _labels(values: pd.DataFrame) -> dict[Place, str]:
    """Return the labels of metrics on corpora in the order of `KINDS`, with the corpus where there are several."""
    measured = sorted({*values[PLACE].itertuples(index=False, name=None)})
    groups = [[place for place in measured if place[0].endswith(kind)] for kind in KINDS]
    labels = {}
    for places in [*filter(None, groups)] or [[place] for place in measured]:
        corpora = [corpus for *_, corpus in places]
        for place in places:
            metric, measure, corpus = place
            name = corpus if corpora.count(corpus) == 1 else measure
            labels[place] = metric_label(metric) + (f", {name}" if len(places) > 1 else "")
    return labels
