"""Average zero-shot accuracy against the share of parameters removed, or by method where all have one share,
with 95 % intervals; hollow points are published. In facets of recovered models the dense model is recovered
too.
"""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfprune.analysis.averages import AVERAGE, paper_average, primary_values
from hfprune.report import charts
from hfprune.report.collected import Collected
from hfprune.report.drawing.frames import at_one_ratio, column, full, panels
from hfprune.report.drawing.marks import BLACK, GREY, HOLLOW
from hfprune.report.measures import scaled
from hfprune.report.publication import FigurePublication
from hfprune.results import DENSE


class Accuracy(FigurePublication):
    """One panel per model and recovery."""

    order = 1
    shows = "zeroshot"

    def make(self, data: Collected) -> Figure | str:
        """Draw the paper's average over the study's tasks."""
        measure = data.declared.first("zeroshot")
        values = scaled(paper_average(data.levels, measure))
        if values.empty:
            return "Zero-shot accuracy: not measured"
        values = at_one_ratio(values)
        count = primary_values(data.levels, measure)["task"].nunique()
        title = f"Average of {count} task{'s' * (count > 1)} (%)"
        measured = values[["model", "recovery", "ratio"]].drop_duplicates()
        printed = data.published[data.published["task"] == AVERAGE].merge(measured)
        single = charts.of_one_ratio(values)
        found, models = {}, []
        for name, facet in charts.facets(values).items():
            beside = printed.merge(facet[["model", "recovery"]].drop_duplicates())
            order = charts.best_first(facet, "higher")
            order += [method for method in charts.pruned(beside, data.looks) if method not in order]
            found[name] = charts.against_ratio(
                facet, data.looks, title, order=order if single else None, printed=beside
            )
            models.append(facet["model"].iloc[0])
        found = dict(zip(found, charts.with_shared_axes([*found.values()], models), strict=True))
        methods = {*values["method"], *printed["method"]} - {DENSE}
        crowded = len(methods) * len(charts.ratios(values)) > 15 and not single
        entries = [Line2D([], [], color=GREY, label="Published, 10 tasks", **HOLLOW)] if len(printed) else []
        if DENSE in set(printed["method"]):
            dotted = Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8, label="Dense, published")
            entries.append(dotted)
        bars = charts.meaning(values)
        if bars and charts.spread(values) != "sd":
            bars += ", which tells no two methods apart"
        meaning = charts.with_ratio(values, bars)
        return panels(found, full() if crowded else column(), entries=entries, title=meaning)
