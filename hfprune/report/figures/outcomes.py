"""Figures of the outcomes of pruning: accuracy, fidelity and perplexity, against ratio or calibration."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from hfprune.analysis.averages import AVERAGE, half_width, over_seeds, primary_values, with_averages
from hfprune.analysis.declarations import ALL_SHOWN
from hfprune.analysis.settling import OUTCOMES, SCORED, by_sequences
from hfprune.report.figures import drawing
from hfprune.report.figures.collected import Collected
from hfprune.report.figures.drawing import BLACK, EDGE, GREY
from hfprune.report.style import COLUMN_WIDTH, FULL_WIDTH, TASKS, metric_label, tasks_in_order
from hfprune.results import DENSE


def accuracy(data: Collected) -> Figure:
    """Draw average zero-shot accuracy against the ratio, with 95 % intervals; published averages are hollow."""
    rows = with_averages(data.results, data.declared.first("zeroshot"))
    values = over_seeds(rows[rows["task"] == AVERAGE])
    if values.empty:
        return drawing.not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    values["half"] = half_width(values)
    count = rows.loc[rows["metric"] != AVERAGE, "task"].nunique()
    facets = drawing.facets(values)
    printed = data.published[(data.published["task"] == AVERAGE)].merge(
        values[["model", "recovery", "ratio"]].drop_duplicates()
    )
    methods = {*values["method"], *printed["method"]}
    crowded = len(methods - {DENSE}) * len(drawing.ratios(values)) > 15
    figure, axes = drawing.wrap([*facets], FULL_WIDTH if crowded else COLUMN_WIDTH, 2.0)
    for ax, facet in zip(axes, facets.values(), strict=True):
        drawing.against_ratio(
            ax, facet, data.looks, printed.merge(facet[["model", "recovery"]].drop_duplicates())
        )
        ax.set_ylabel(f"Average of {count} task{'s' * (count > 1)} (%)")
        ax.set_xlabel("Parameters removed (%)")
    handles = drawing.handles(methods, data.looks)
    if len(printed):
        handles.append(Line2D([], [], color=GREY, label="Published, 10 tasks", **drawing.HOLLOW))
    if DENSE in set(printed["method"]):
        handles.append(Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8, label="Dense, published"))
    drawing.legend(figure, handles, drawing.meaning(values))
    return figure


def published(data: Collected) -> Figure:
    """Draw our scores against the published ones of the same settings, with 95 % intervals and the diagonal."""
    if data.published.empty:
        return drawing.sentence("Published against reproduced: no model of this study is in the paper")
    pairs = _pairs(data)
    if pairs.empty:
        return drawing.sentence("Published against reproduced: no published setting is measured yet")
    models = [model for model in dict.fromkeys(data.published["model"]) if model in set(pairs["model"])]
    both = pairs[["value", "value_published"]].to_numpy()
    figure, axes = drawing.wrap(models, COLUMN_WIDTH, 2.2)
    for ax, model in zip(axes, models, strict=True):
        ax.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=0.8, zorder=0)
        for (method, average), shown in pairs[pairs["model"] == model].groupby(["method", "average"]):
            options = {"yerr": shown["half"], "linestyle": "", "markersize": 5.5 if average else 2.5}
            drawing.points(ax, data.looks[method], shown["value_published"], shown["value"], **options)
        ax.set(xlabel="Published (%)", ylabel="Reproduced (%)")
    identity = Line2D([], [], color=GREY, linewidth=0.8, label="Equal")
    meaning = "; ".join(filter(None, [drawing.meaning(pairs), "large: averages, small: tasks"]))
    drawing.legend(figure, [*drawing.handles(pairs["method"], data.looks, {DENSE}), identity], meaning)
    return figure


def _pairs(data: Collected) -> pd.DataFrame:
    """Return our scores in percent beside the published ones of the same setting (`value_published`)."""
    rows = with_averages(data.results, data.declared.first("zeroshot"))
    if {*rows.loc[rows["metric"] != AVERAGE, "task"]} != {*TASKS}:
        rows = rows[rows["task"] != AVERAGE]  # the published averages are over other tasks
    values = over_seeds(rows)
    values[["value", "sd", "stderr"]] *= 100
    values["half"] = half_width(values)
    by = ["model", "method", "ratio", "recovery", "task"]
    pairs = values.merge(data.published[[*by, "value"]], on=by, suffixes=("", "_published"))
    return pairs.assign(average=pairs["task"] == AVERAGE)


def tasks(data: Collected) -> Figure:
    """Draw the accuracy of each task, one facet per ratio, with 95 % intervals, the dense model and chance."""
    values = over_seeds(primary_values(data.results, data.declared.first("zeroshot")))
    if values.empty:
        return drawing.not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    methods = drawing.pruned(values, data.looks)
    # With more methods, the bars are so close that they hide the points.
    values["half"] = half_width(values) if len(methods) <= 6 else np.nan
    facets, ratios, order = (
        drawing.facets(values),
        drawing.ratios(values),
        [*tasks_in_order(values["task"]).items()],
    )
    places = {task: i for i, (task, _) in enumerate(order)}
    line = min(max(0.22, 0.06 * len(methods)), 0.4)  # inches a task, so that two models fit a page
    figure, axes = drawing.grid(
        [*facets],
        drawing.percents(ratios),
        drawing.width(ratios),
        line * len(order),
        sharex=True,
        sharey=True,
    )
    for row, facet in zip(axes, facets.values(), strict=True):
        for ax, ratio in zip(row, ratios, strict=True):
            for i, (_, task) in enumerate(order):
                ax.axhspan(i - 0.5, i + 0.5, color="#F4F4F4" if i % 2 else "white", zorder=0, linewidth=0)
                if task.chance:
                    ax.vlines(100 * task.chance, i - 0.5, i + 0.5, color=GREY, linestyle=":", linewidth=0.9)
            dense = facet[facet["method"] == DENSE]
            ys = dense["task"].map(places).astype(float)
            ax.vlines(dense["value"], ys - 0.42, ys + 0.42, color=BLACK, linewidth=1)
            for method, offset in zip(methods, drawing.dodge(len(methods), 0.76), strict=True):
                shown = facet[(facet["method"] == method) & (facet["ratio"] == ratio)]
                # As floats, even if the model does not have this ratio and nothing is shown.
                y = shown["task"].map(places).astype(float) + offset
                options = {"linestyle": "", "markersize": 3.5, "xerr": shown["half"]}
                drawing.points(ax, data.looks[method], shown["value"], y, **options)
            ax.grid(False)
            ax.set(yticks=range(len(order)), yticklabels=[task.short for _, task in order])
            ax.set_ylim(len(order) - 0.5, -0.5)
            ax.tick_params(axis="y", length=0)
    drawing.xlabel(axes, "Accuracy (%)")
    marks = [
        Line2D([], [], color=BLACK, marker="|", linestyle="", markersize=9, label="Dense"),
        Line2D([], [], color=GREY, linestyle=":", label="Chance"),
    ]
    drawing.legend(figure, [*marks, *drawing.handles(methods, data.looks)], drawing.meaning(values))
    return figure


def fidelity(data: Collected) -> Figure:
    """Draw JS distance, top-k Jaccard and perplexity against the ratio, with 95 % intervals."""
    values = over_seeds(data.results[data.results["measure"].isin(data.declared.of_kind(*ALL_SHOWN))])
    if values.empty:
        return drawing.not_measured("Fidelity")
    values["half"] = half_width(values)
    facets = drawing.facets(values)
    panels = [panel for kind in ("js_distance", "jaccard", "perplexity") for panel in _panels(values, kind)]
    # Not shared: a facet of recovered models may have fewer ratios than others.
    figure, axes = drawing.grid([*facets], [""] * len(panels), FULL_WIDTH, 1.8)
    for row, facet in zip(axes, facets.values(), strict=True):
        for ax, (label, metric, measure, corpus) in zip(row, panels, strict=True):
            place = facet["measure"].eq(measure) & facet["task"].eq(corpus)
            shown = facet[place & (facet["metric"] == metric)]
            if shown.empty:
                drawing.say(ax, f"{label}\nnot measured")
                continue
            logarithmic = metric == "perplexity" and drawing.spans_a_decade(shown)
            drawing.against_ratio(ax, shown, data.looks, logarithmic=logarithmic)
            ax.set_ylabel(label)
    drawing.xlabel(axes, "Parameters removed (%)")
    drawing.legend(
        figure, drawing.handles(values["method"], data.looks), drawing.meaning(values, "documents")
    )
    return figure


def _panels(values: pd.DataFrame, kind: str) -> list[tuple[str, str, str, str]]:
    """Return label, metric, measure and corpus of each panel of a metric; one empty panel if none is measured."""
    found = values[values["metric"].str.endswith(kind)]
    places = sorted({*zip(found["metric"], found["measure"], found["task"], strict=True)})
    if not places:
        return [(metric_label(kind), "", "", "")]
    corpora = [corpus for _, _, corpus in places]
    names = [corpus if corpora.count(corpus) == 1 else measure for _, measure, corpus in places]
    several = len(places) > 1
    return [
        (metric_label(place[0]) + (f", {name}" if several else ""), *place)
        for place, name in zip(places, names, strict=True)
    ]


def calibration(data: Collected) -> Figure:
    """Draw agreement, JS distance and perplexity against the number of calibration sequences.

    The agreement is the course of the method with the most sequences. The others are for methods that differ only
    in their number of sequences, at the lowest ratio.
    """
    if data.marks.empty:
        return drawing.not_measured("Agreement of calibration halves")
    rows = by_sequences(data.results, data.marks, data.declared)
    models = sorted({*data.marks["model"]})
    figure, axes = drawing.grid(models, ["", "", ""], FULL_WIDTH, 1.9, sharex=True)
    drawn: list[str] = []
    for row, model in zip(axes, models, strict=True):
        marks = data.marks[data.marks["model"] == model]
        by_length = marks.sort_values("sequences")
        longest = by_length.groupby(SCORED, sort=False)["method"].last()
        for method in longest:
            curve = marks[marks["method"] == method].groupby("sequences")["agreement"].mean()
            row[0].plot(curve.index, curve, color=data.looks[method].colour, **EDGE, marker=".")
        shown = rows[(rows["model"] == model) & (rows["ratio"] == rows["ratio"].min())]
        for scored, line in shown.groupby(SCORED):
            look = data.looks[longest[scored]]
            for ax, metric in zip(row[1:], OUTCOMES, strict=True):
                drawing.points(ax, look, line["sequences"], line[metric], yerr=line[f"{metric}_half"])
        drawn += [*longest]
        row[0].set_ylabel("Agreement of halves")
        for ax, metric in zip(row[1:], OUTCOMES, strict=True):
            ax.set_ylabel(metric_label(metric))
        for ax in row:
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    drawing.xlabel(axes, "Calibration sequences")
    drawing.legend(figure, drawing.handles(drawn, data.looks), "Bars: 95 % intervals over documents")
    return figure
