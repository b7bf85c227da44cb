"""Figures of the outcomes of pruning: accuracy, fidelity and perplexity, against ratio or calibration."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from hfprune.analysis.averages import AVERAGE, half_width, over_seeds, primary_values, with_averages
from hfprune.analysis.declarations import ALL_SHOWN, Declarations
from hfprune.analysis.settling import OUTCOMES, SCORED, by_sequences
from hfprune.report.collected import Collected
from hfprune.report.figures import drawing
from hfprune.report.figures.drawing import BLACK, GREY
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
    single = drawing.of_one_ratio(values)
    crowded = len(methods - {DENSE}) * len(drawing.ratios(values)) > 15 and not single
    height = drawing.lines_height(len(methods - {DENSE})) if single else 2.0
    figure, axes = drawing.wrap(
        [*facets], FULL_WIDTH if crowded else COLUMN_WIDTH, height, across=2 if single else 3
    )
    average = f"Average of {count} task{'s' * (count > 1)} (%)"
    for ax, facet in zip(axes, facets.values(), strict=True):
        beside = printed.merge(facet[["model", "recovery"]].drop_duplicates())
        if single:
            order = drawing.best_first(facet, "higher")
            order += [name for name in drawing.pruned(beside, data.looks) if name not in order]
            drawing.by_method(ax, facet, data.looks, order, beside)
            ax.set_xlabel(average)
            continue
        drawing.against_ratio(ax, facet, data.looks, beside)
        ax.set_ylabel(average)
        ax.set_xlabel("Parameters removed (%)")
    # A method is named beside its line; only the dense model is not.
    handles = drawing.handles(methods & {DENSE} if single else methods, data.looks)
    if len(printed):
        handles.append(Line2D([], [], color=GREY, label="Published, 10 tasks", **drawing.HOLLOW))
    if DENSE in set(printed["method"]):
        handles.append(Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8, label="Dense, published"))
    drawing.legend(figure, handles, drawing.with_ratio(values, drawing.meaning(values)))
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
    low, high = axes[0, 0].get_xlim()
    axes[0, 0].set_xlim(max(low, -2), min(high, 102))
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
    heights = [_height(facet) for facet in facets.values()]
    # Not shared: a facet of recovered models may have fewer ratios than others.
    names = [
        f"{name}, {drawing.percents(drawing.ratios(facet))[0]}" if drawing.of_one_ratio(facet) else name
        for name, facet in facets.items()
    ]
    figure, axes = drawing.grid(names, [""] * len(panels), FULL_WIDTH, heights)
    unnamed: set[str] = set()
    for row, facet in zip(axes, facets.values(), strict=True):
        single = drawing.of_one_ratio(facet)
        shown = {panel: _of_panel(facet, panel) for panel in panels}
        order = _order(shown, data.declared) if single else []
        unnamed |= {*facet["method"]} if not single else {DENSE} & {*facet["method"]}
        for ax, (panel, part) in zip(row, shown.items(), strict=True):
            if part.empty:
                drawing.say(ax, f"{panel.label}\nnot measured")
                continue
            logarithmic = panel.metric == "perplexity" and drawing.spans_a_decade(part)
            if single:
                named = ax is next(ax for ax, one in zip(row, shown.values(), strict=True) if len(one))
                drawing.by_method(ax, part, data.looks, order, logarithmic=logarithmic, named=named)
                ax.set_xlabel(panel.label)
            else:
                drawing.against_ratio(ax, part, data.looks, logarithmic=logarithmic)
                ax.set(xlabel="Parameters removed (%)", ylabel=panel.label)
    title = drawing.with_ratio(values, drawing.meaning(values, "documents"))
    drawing.legend(figure, drawing.handles(unnamed, data.looks), title)
    return figure


class Panel(NamedTuple):
    """A metric of a measure on a corpus."""

    label: str
    metric: str
    measure: str
    corpus: str


def _height(facet: pd.DataFrame) -> float:
    methods = facet.loc[facet["method"] != DENSE, "method"].nunique()
    return drawing.lines_height(methods) if drawing.of_one_ratio(facet) else 1.8


def _of_panel(values: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    place = values["measure"].eq(panel.measure) & values["task"].eq(panel.corpus)
    return values[place & (values["metric"] == panel.metric)]


def _order(shown: dict[Panel, pd.DataFrame], declared: Declarations) -> list[str]:
    """Return the methods, the best in the first panel first; those that it lacks follow by the next panel."""
    order: dict[str, None] = {}
    for panel, part in shown.items():
        better = declared.find(panel.measure, panel.metric).metric.better
        order |= dict.fromkeys(name for name in drawing.best_first(part, better) if name not in order)
    return [*order]


def _panels(values: pd.DataFrame, kind: str) -> list[Panel]:
    """Return the panels of a metric; none if it is not measured."""
    found = values[values["metric"].str.endswith(kind)]
    places = sorted({*zip(found["metric"], found["measure"], found["task"], strict=True)})
    corpora = [corpus for _, _, corpus in places]
    names = [corpus if corpora.count(corpus) == 1 else measure for _, measure, corpus in places]
    several = len(places) > 1
    return [
        Panel(metric_label(place[0]) + (f", {name}" if several else ""), *place)
        for place, name in zip(places, names, strict=True)
    ]


def calibration(data: Collected) -> Figure:
    """Draw agreement, JS distance and perplexity against the number of calibration sequences.

    The agreement is the course of the method with the most sequences. The others are for methods that differ only
    in their number of sequences, at the lowest ratio; they have no panel in a study without such methods.
    """
    if data.marks.empty:
        return drawing.not_measured("Agreement of calibration halves")
    rows = by_sequences(data.results, data.marks, data.declared)
    rows = rows[rows["ratio"] == rows.groupby("model")["ratio"].transform("min")]
    rows = rows[rows.groupby(["model", *SCORED])["sequences"].transform("nunique") > 1]
    outcomes = [metric for metric in OUTCOMES if rows[metric].notna().any()]
    models = sorted({*data.marks["model"]})
    wide = FULL_WIDTH if outcomes else COLUMN_WIDTH * 1.4
    figure, axes = drawing.grid(models, [""] * (1 + len(outcomes)), wide, 1.9, sharex=True)
    drawn: list[str] = []
    for row, model in zip(axes, models, strict=True):
        marks = data.marks[data.marks["model"] == model]
        # The last of those with the most sequences has the simplest allocation.
        simple = marks.assign(simple=marks["allocation"].eq("uniform"))
        by_length = simple.sort_values(["sequences", "simple"], kind="stable")
        longest = by_length.groupby(SCORED, sort=False)["method"].last()
        # Halves are compared in each layer, and so without the budget's division among layers.
        curves = [*by_length.groupby(SCORED[:-1], sort=False)["method"].last()]
        for method in curves:
            curve = marks[marks["method"] == method].groupby("sequences")["agreement"].mean()
            drawing.points(row[0], data.looks[method], curve.index, curve)
        for scored, line in rows[rows["model"] == model].groupby(SCORED):
            look = data.looks[longest[scored]]
            drawn.append(longest[scored])
            for ax, metric in zip(row[1:], outcomes, strict=True):
                drawing.points(ax, look, line["sequences"], line[metric], yerr=line[f"{metric}_half"])
        drawn += curves
        row[0].set_ylabel("Agreement of halves")
        for ax, metric in zip(row[1:], outcomes, strict=True):
            ax.set_ylabel(metric_label(metric))
        for ax in row:
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    drawing.xlabel(axes, "Calibration sequences")
    bars = "Bars: 95 % intervals over documents" if outcomes else ""
    drawing.legend(figure, drawing.handles(drawn, data.looks), bars)
    return figure
