"""Distance to the dense model's output, and perplexity, against the share of parameters removed, or by
method, the best first, where all have one share, with 95 % intervals; on a logarithmic axis they are
intervals of the logarithm.
"""

from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from hfprune.analysis.declarations import ALL_SHOWN, Declarations
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import grid, legend, lines_height, say, unnamed
from hfprune.report.drawing.marks import draw
from hfprune.report.publication import FigurePublication
from hfprune.report.style import FULL_WIDTH, metric_label

KINDS = (
    "js_distance",
    "jaccard",
    "perplexity",
)  # ends of the metrics' names; the others only if there is none


class Panel(NamedTuple):
    """A metric of a measure on a corpus."""

    label: str
    metric: str
    measure: str
    corpus: str


class Fidelity(FigurePublication):
    """One row of panels per model and recovery, one column per metric and corpus."""

    order = 3

    def make(self, data: Collected) -> Figure | str:
        """Draw JS distance, top-k Jaccard and perplexity."""
        shown = data.results["measure"].isin(data.declared.of_kind(*ALL_SHOWN))
        values = charts.summary(data.results[shown])
        if values.empty:
            return "Fidelity: not measured"
        facets, panels = charts.facets(values), _panels(values)
        # Axes are not shared: a facet of recovered models may have fewer ratios than others.
        names, rows, heights = [], [], []
        for name, facet in facets.items():
            single = charts.of_one_ratio(facet)
            rows.append(_row(facet, panels, data, single))
            names.append(f"{name}, {charts.percents(charts.ratios(facet))[0]}" if single else name)
            heights.append(lines_height(len(charts.pruned(facet, data.looks))) if single else 1.8)
        figure, axes = grid(names, [""] * len(panels), FULL_WIDTH, heights)
        for axes_of_row, row in zip(axes, rows, strict=True):
            for ax, panel in zip(axes_of_row, panels, strict=True):
                if panel in row:
                    draw(ax, row[panel])
                else:
                    say(ax, f"{panel.label}\nnot measured")
        title = charts.with_ratio(values, charts.meaning(values, "documents"))
        legend(figure, unnamed(chart for row in rows for chart in row.values()), title)
        return figure


def _row(
    facet: pd.DataFrame, panels: list[Panel], data: Collected, single: bool
) -> dict[Panel, charts.Chart]:
    """Return the charts of the panels that a facet has; methods are named at the first."""
    parts = {panel: part for panel in panels if len(part := _of_panel(facet, panel))}
    order = _order(parts, data.declared) if single else None
    found: dict[Panel, charts.Chart] = {}
    for panel, part in parts.items():
        logarithmic = panel.metric == "perplexity" and charts.spans_a_decade(part["value"])
        found[panel] = charts.against_ratio(
            *(part, data.looks, panel.label), order=order, logarithmic=logarithmic, named=not found
        )
    return found


def _of_panel(values: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    place = values["measure"].eq(panel.measure) & values["task"].eq(panel.corpus)
    return values[place & (values["metric"] == panel.metric)]


def _order(shown: dict[Panel, pd.DataFrame], declared: Declarations) -> list[str]:
    """Return the methods, the best in the first panel first; those that it lacks follow by the next panel."""
    order: dict[str, None] = {}
    for panel, part in shown.items():
        better = declared.find(panel.measure, panel.metric).metric.better
        order |= dict.fromkeys(name for name in charts.best_first(part, better) if name not in order)
    return [*order]


def _panels(values: pd.DataFrame) -> list[Panel]:
    """Return the panels of each kind of metric that is measured."""
    measured = [*values[["metric", "measure", "task"]].drop_duplicates().itertuples(index=False, name=None)]
    groups = [sorted(place for place in measured if place[0].endswith(kind)) for kind in KINDS]
    groups = [*filter(None, groups)] or [[place] for place in sorted(measured)]
    panels = []
    for places in groups:
        corpora = [corpus for _, _, corpus in places]
        names = [corpus if corpora.count(corpus) == 1 else measure for _, measure, corpus in places]
        several = len(places) > 1
        panels += [
            Panel(metric_label(place[0]) + (f", {name}" if several else ""), *place)
            for place, name in zip(places, names, strict=True)
        ]
    return panels
