"""Figures of what pruned models can still do: accuracy, fidelity, perplexity, against ratio or calibration."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from hfprune.analysis.averages import AVERAGE, half_width, over_seeds, primary_values, with_averages
from hfprune.analysis.calibration import OUTCOMES, SCORED, by_sequences
from hfprune.analysis.figures import drawing
from hfprune.analysis.figures.collected import Collected
from hfprune.analysis.figures.drawing import BLACK, EDGE, GREY
from hfprune.analysis.style import COLUMN_WIDTH, FULL_WIDTH, TASKS, Look, metric_label, tasks_in_order
from hfprune.results import DENSE

_HOLLOW: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "white"}  # published points


def accuracy(data: Collected) -> Figure:
    """Draw average zero-shot accuracy against the ratio, with 95 % intervals; published averages are hollow."""
    rows = with_averages(data.results)
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
        _against_ratio(ax, facet, data.looks, printed.merge(facet[["model", "recovery"]].drop_duplicates()))
        ax.set_ylabel(f"Average of {count} task{'s' * (count > 1)} (%)")
        ax.set_xlabel("Parameters removed (%)")
    handles = drawing.handles(methods, data.looks)
    if len(printed):
        handles.append(Line2D([], [], color=GREY, label="Published, 10 tasks", **_HOLLOW))
    if DENSE in set(printed["method"]):
        handles.append(Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8, label="Dense, published"))
    drawing.legend(figure, handles, drawing.meaning(values))
    return figure


def published(data: Collected) -> Figure:
    """Draw our scores against the published ones of the same settings, with 95 % intervals and the identity."""
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
    """Return our scores in percent beside those published of the same setting (`value_published`)."""
    rows = with_averages(data.results)
    if {*rows.loc[rows["metric"] != AVERAGE, "task"]} != {*TASKS}:
        rows = rows[rows["task"] != AVERAGE]  # over other tasks than the published ones
    values = over_seeds(rows)
    values[["value", "sd", "stderr"]] *= 100
    values["half"] = half_width(values)
    by = ["model", "method", "ratio", "recovery", "task"]
    pairs = values.merge(data.published[[*by, "value"]], on=by, suffixes=("", "_published"))
    return pairs.assign(average=pairs["task"] == AVERAGE)


def tasks(data: Collected) -> Figure:
    """Draw the accuracy of each task, a facet per ratio, with 95 % intervals, the dense model and chance."""
    values = over_seeds(primary_values(data.results))
    if values.empty:
        return drawing.not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    methods = drawing.pruned(values, data.looks)
    # Bars of more methods than this lie so close that they hide the points.
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
                # As numbers, also where a model has not this ratio and nothing is shown.
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
    values = over_seeds(data.results[data.results["measure"].isin(["fidelity", "perplexity"])])
    if values.empty:
        return drawing.not_measured("Fidelity")
    values["half"] = half_width(values)
    facets = drawing.facets(values)
    panels = [panel for kind in ("js_distance", "jaccard", "perplexity") for panel in _panels(values, kind)]
    # Not shared: a facet of recovered models may have fewer ratios than the others.
    figure, axes = drawing.grid([*facets], [""] * len(panels), FULL_WIDTH, 1.8)
    for row, facet in zip(axes, facets.values(), strict=True):
        for ax, (label, metric, corpus) in zip(row, panels, strict=True):
            shown = facet[(facet["metric"] == metric) & (facet["task"] == corpus)]
            if shown.empty:
                drawing.say(ax, f"{label}\nnot measured")
                continue
            _against_ratio(ax, shown, data.looks)
            ax.set_ylabel(label)
            if metric == "perplexity" and shown["value"].max() > 10 * shown["value"].min():
                drawing.log(ax)
    drawing.xlabel(axes, "Parameters removed (%)")
    drawing.legend(
        figure, drawing.handles(values["method"], data.looks), drawing.meaning(values, "documents")
    )
    return figure


def _panels(values: pd.DataFrame, kind: str) -> list[tuple[str, str, str]]:
    """Return label, metric and corpus of each panel of a kind of metric; one empty panel where there is none."""
    found = values[values["metric"].str.endswith(kind)]
    pairs = sorted({*zip(found["metric"], found["task"], strict=True)})
    if not pairs:
        return [(metric_label(kind), "", "")]
    several = len(pairs) > 1
    return [
        (metric_label(metric) + (f", {corpus}" if several else ""), metric, corpus)
        for metric, corpus in pairs
    ]


def _against_ratio(
    ax: Axes, values: pd.DataFrame, looks: dict[str, Look], printed: pd.DataFrame | None = None
) -> None:
    """Draw one line per method over the ratios, moved apart at each ratio, and the dense model as a level.

    Published numbers (`printed`) at these ratios are hollow, a published dense model is a dotted level.
    """
    printed = values[:0] if printed is None else printed
    for rows, line in ((values, "--"), (printed, ":")):
        for level in rows.loc[rows["method"] == DENSE, "value"]:
            ax.axhline(level, color=BLACK, linestyle=line, linewidth=0.8)
    methods = drawing.pruned(pd.concat([values[["method"]], printed[["method"]]]), looks)
    ratios = [100 * ratio for ratio in drawing.ratios(values)]
    gap = min(np.diff(ratios), default=10)
    for method, offset in zip(
        methods, drawing.dodge(len(methods), min(0.6, 0.05 * len(methods)) * gap), strict=True
    ):
        shown = values[values["method"] == method].sort_values("ratio")
        drawing.points(ax, looks[method], 100 * shown["ratio"] + offset, shown["value"], yerr=shown["half"])
        hollow = printed[(printed["method"] == method) & printed["ratio"].isin(values["ratio"])]
        if len(hollow):
            mark = _HOLLOW | {"marker": looks[method].marker, "color": looks[method].colour}
            ax.plot(100 * hollow["ratio"] + offset, hollow["value"], **mark)
    ax.set_xticks(ratios, [f"{ratio:.3g}" for ratio in ratios])
    ax.set_xlim(ratios[0] - 0.5 * gap, ratios[-1] + 0.5 * gap)


def calibration(data: Collected) -> Figure:
    """Draw agreement, JS distance and perplexity against the number of calibration sequences.

    Agreement is that on the way, of the method that read most; the others are those of methods which differ in
    nothing but their number of sequences, at the lowest ratio.
    """
    if data.marks.empty:
        return drawing.not_measured("Agreement of calibration halves")
    rows = by_sequences(data.results, data.marks)
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
