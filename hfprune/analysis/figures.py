"""The figures, made from what `collect` wrote and from nothing else, as PDF, SVG and PNG."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from hfprune import layout
from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    half_width,
    over_seeds,
    primary_values,
    spread,
    with_averages,
)
from hfprune.analysis.calibration import OUTCOMES, SCORED, by_sequences
from hfprune.analysis.collect import (
    ABLATION,
    CALIBRATION,
    CLAIMS,
    COMPARISON,
    DISTRIBUTIONS,
    NEURONS,
    OVERLAP,
    QUANTILES,
    RANKS,
    RESULTS,
    read_collected,
)
from hfprune.analysis.comparison import REFERENCE
from hfprune.analysis.published import read_published
from hfprune.analysis.style import (
    COLUMN_WIDTH,
    FULL_WIDTH,
    METHODS,
    RC,
    TASKS,
    VERDICTS,
    Look,
    looks,
    metric_label,
    tasks_in_order,
)
from hfprune.files import atomic_file
from hfprune.results import DENSE

FOCUS = 0.2  # the ratio, or the nearest, of figures that show one; the paper's first
COMPARED = (REFERENCE, "cross_entropy", "distillation")  # the criteria that the paper compares
BLACK, GREY = "black", "#8C8C8C"
_EDGE: dict[str, Any] = {
    "markeredgecolor": "white",
    "markeredgewidth": 0.4,
}  # keeps markers apart where they touch
# Published effects: one shape, the fainter the less they can be trusted.
_PUBLISHED: dict[str, Any] = {"marker": "D", "linestyle": "", "color": BLACK}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "ok": ("Published", {"markersize": 3}),
    "tentative": ("Published, tentative", {"markersize": 3, "fillstyle": "none"}),
    "suspect": ("Published, suspect", {"markersize": 3, "fillstyle": "none", "alpha": 0.35}),
}
_HOLLOW: dict[str, Any] = {"linestyle": "", "marker": "o", "markerfacecolor": "white"}  # published points


@dataclass(frozen=True)
class Collected:
    """What the figures draw: the tables that `collect` and `claims` wrote, and the look of every method."""

    results: pd.DataFrame
    overlap: pd.DataFrame
    ranks: pd.DataFrame
    quantiles: pd.DataFrame
    neurons: pd.DataFrame
    distributions: pd.DataFrame
    published: pd.DataFrame
    """`hfprune.analysis.published.Published.scores` of the study's models, in percent."""
    looks: dict[str, Look]
    claims: pd.DataFrame
    comparison: pd.DataFrame
    marks: pd.DataFrame

    @classmethod
    def read(cls, folder: Path, paper: Path) -> "Collected":
        """Read the folder that `collect` wrote, and `paper/`."""
        names = (RESULTS, OVERLAP, RANKS, QUANTILES, NEURONS, DISTRIBUTIONS, CALIBRATION)
        results, overlap, ranks, quantiles, neurons, distributions, marks = (
            read_collected(folder / name) for name in names
        )
        scores = read_published(paper).scores()
        scores = scores[scores["model"].isin(results["model"])]
        methods = {*results["method"], *overlap["method_a"], *overlap["method_b"], *quantiles["method"]}
        methods |= {*scores["method"]}
        # The two that `collect` does not write; a study can be drawn before they are made.
        claims, comparison = (
            read_collected(folder / name) if (folder / name).exists() else pd.DataFrame()
            for name in (CLAIMS, COMPARISON)
        )
        shown = looks(methods)
        return cls(
            results,
            overlap,
            ranks,
            quantiles,
            neurons,
            distributions,
            scores,
            shown,
            claims,
            comparison,
            marks,
        )


def accuracy(data: Collected) -> Figure:
    """Draw average zero-shot accuracy against the ratio, with 95 % intervals; published averages are hollow."""
    rows = with_averages(data.results)
    values = over_seeds(rows[rows["task"] == AVERAGE])
    if values.empty:
        return _not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    values["half"] = half_width(values)
    count = rows.loc[rows["metric"] != AVERAGE, "task"].nunique()
    facets = _facets(values)
    printed = data.published[(data.published["task"] == AVERAGE)].merge(
        values[["model", "recovery", "ratio"]].drop_duplicates()
    )
    methods = {*values["method"], *printed["method"]}
    crowded = len(methods - {DENSE}) * len(_ratios(values)) > 15
    figure, axes = _wrap([*facets], FULL_WIDTH if crowded else COLUMN_WIDTH, 2.0)
    for ax, facet in zip(axes, facets.values(), strict=True):
        _against_ratio(ax, facet, data.looks, printed.merge(facet[["model", "recovery"]].drop_duplicates()))
        ax.set_ylabel(f"Average of {count} task{'s' * (count > 1)} (%)")
        ax.set_xlabel("Parameters removed (%)")
    handles = _handles(methods, data.looks)
    if len(printed):
        handles.append(Line2D([], [], color=GREY, label="Published, 10 tasks", **_HOLLOW))
    if DENSE in set(printed["method"]):
        handles.append(Line2D([], [], color=BLACK, linestyle=":", linewidth=0.8, label="Dense, published"))
    _legend(figure, handles, _meaning(values))
    return figure


def published(data: Collected) -> Figure:
    """Draw our scores against the published ones of the same settings, with 95 % intervals and the identity."""
    if data.published.empty:
        return _sentence("Published against reproduced: no model of this study is in the paper")
    pairs = _pairs(data)
    if pairs.empty:
        return _sentence("Published against reproduced: no published setting is measured yet")
    models = [model for model in dict.fromkeys(data.published["model"]) if model in set(pairs["model"])]
    both = pairs[["value", "value_published"]].to_numpy()
    figure, axes = _wrap(models, COLUMN_WIDTH, 2.2)
    for ax, model in zip(axes, models, strict=True):
        ax.plot([both.min(), both.max()], [both.min(), both.max()], color=GREY, linewidth=0.8, zorder=0)
        for (method, average), shown in pairs[pairs["model"] == model].groupby(["method", "average"]):
            options = {"yerr": shown["half"], "linestyle": "", "markersize": 5.5 if average else 2.5}
            _points(ax, data.looks[method], shown["value_published"], shown["value"], **options)
        ax.set(xlabel="Published (%)", ylabel="Reproduced (%)")
    identity = Line2D([], [], color=GREY, linewidth=0.8, label="Equal")
    meaning = "; ".join(filter(None, [_meaning(pairs), "large: averages, small: tasks"]))
    _legend(figure, [*_handles(pairs["method"], data.looks, {DENSE}), identity], meaning)
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


def fidelity(data: Collected) -> Figure:
    """Draw JS distance, top-k Jaccard and perplexity against the ratio, with 95 % intervals."""
    values = over_seeds(data.results[data.results["measure"].isin(["fidelity", "perplexity"])])
    if values.empty:
        return _not_measured("Fidelity")
    values["half"] = half_width(values)
    facets = _facets(values)
    panels = [panel for kind in ("js_distance", "jaccard", "perplexity") for panel in _panels(values, kind)]
    # Not shared: a facet of recovered models may have fewer ratios than the others.
    figure, axes = _grid([*facets], [""] * len(panels), FULL_WIDTH, 1.8)
    for row, facet in zip(axes, facets.values(), strict=True):
        for ax, (label, metric, corpus) in zip(row, panels, strict=True):
            shown = facet[(facet["metric"] == metric) & (facet["task"] == corpus)]
            if shown.empty:
                _say(ax, f"{label}\nnot measured")
                continue
            _against_ratio(ax, shown, data.looks)
            ax.set_ylabel(label)
            if metric == "perplexity" and shown["value"].max() > 10 * shown["value"].min():
                _log(ax)
    _xlabel(axes, "Parameters removed (%)")
    _legend(figure, _handles(values["method"], data.looks), _meaning(values, "documents"))
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


def tasks(data: Collected) -> Figure:
    """Draw the accuracy of each task, a facet per ratio, with 95 % intervals, the dense model and chance."""
    values = over_seeds(primary_values(data.results))
    if values.empty:
        return _not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    methods = _pruned(values, data.looks)
    # Bars of more methods than this lie so close that they hide the points.
    values["half"] = half_width(values) if len(methods) <= 6 else np.nan
    facets, ratios, order = _facets(values), _ratios(values), [*tasks_in_order(values["task"]).items()]
    places = {task: i for i, (task, _) in enumerate(order)}
    line = min(max(0.22, 0.06 * len(methods)), 0.4)  # inches a task, so that two models fit a page
    figure, axes = _grid(
        [*facets], _percents(ratios), _width(ratios), line * len(order), sharex=True, sharey=True
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
            for method, offset in zip(methods, _dodge(len(methods), 0.76), strict=True):
                shown = facet[(facet["method"] == method) & (facet["ratio"] == ratio)]
                # As numbers, also where a model has not this ratio and nothing is shown.
                y = shown["task"].map(places).astype(float) + offset
                options = {"linestyle": "", "markersize": 3.5, "xerr": shown["half"]}
                _points(ax, data.looks[method], shown["value"], y, **options)
            ax.grid(False)
            ax.set(yticks=range(len(order)), yticklabels=[task.short for _, task in order])
            ax.set_ylim(len(order) - 0.5, -0.5)
            ax.tick_params(axis="y", length=0)
    _xlabel(axes, "Accuracy (%)")
    marks = [
        Line2D([], [], color=BLACK, marker="|", linestyle="", markersize=9, label="Dense"),
        Line2D([], [], color=GREY, linestyle=":", label="Chance"),
    ]
    _legend(figure, [*marks, *_handles(methods, data.looks)], _meaning(values))
    return figure


def overlap(data: Collected) -> Figure:
    """Draw, layer by layer, how much of what entropy keeps the other methods keep too (Jaccard index).

    Where entropy is not in the study, its first method stands in.
    """
    pairs = data.overlap
    if pairs.empty:
        return _not_measured("Overlap of kept neurons")
    present = {*pairs["method_a"], *pairs["method_b"]}
    reference = next(method for method in (REFERENCE, *data.looks) if method in present)
    pairs = pairs[(pairs["method_a"] == reference) | (pairs["method_b"] == reference)]
    other = pairs["method_b"].where(pairs["method_a"] == reference, pairs["method_a"])
    by = ["model", "ratio", "method", "layer"]
    values = pairs.assign(method=other).groupby(by, as_index=False)[["jaccard", "expected"]].mean()
    models, ratios, methods = sorted({*values["model"]}), _ratios(values), _pruned(values, data.looks)
    figure, axes = _grid(models, _percents(ratios), _width(ratios), 1.7, sharex=True, sharey=True)
    for row, model in zip(axes, models, strict=True):
        for ax, ratio in zip(row, ratios, strict=True):
            facet = values[(values["model"] == model) & (values["ratio"] == ratio)]
            chance = facet.groupby("layer")["expected"].mean()
            ax.plot(chance.index, chance, color=BLACK, linestyle="--", linewidth=0.8)
            for i, method in enumerate(methods):
                shown, look = facet[facet["method"] == method], data.looks[method]
                step = ceil(len(shown) / 6) or 1
                options = {"color": look.colour, "marker": look.marker, "markevery": (i % step, step)}
                ax.plot(shown["layer"], shown["jaccard"], **options, **_EDGE)
            ax.set_ylim(0, 1)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        row[0].set_ylabel(f"Jaccard with {data.looks[reference].label}")
    _xlabel(axes, "Layer")
    random = Line2D([], [], color=BLACK, linestyle="--", linewidth=0.8, label="Chance")
    _legend(figure, [*_handles(methods, data.looks), random])
    return figure


def agreement(data: Collected) -> Figure:
    """Draw how far each pair of methods agrees: Spearman's correlation of scores, and the overlap of kept neurons.

    Means over layers and seeds; on the left, with a column for what ablating single neurons does, below the
    diagonal only, since it is symmetric; on the right at the ratio nearest to `FOCUS`.
    """
    if data.ranks.empty or data.overlap.empty:
        return _not_measured("Agreement of scores and plans")
    models = sorted({*data.ranks["model"]})
    pairs = pd.concat([data.ranks, data.overlap])
    present = {*pairs["method_a"], *pairs["method_b"]}
    order = [method for method in data.looks if method in present]
    order += [ABLATION] * (ABLATION in present)
    ratio = _focus(data.overlap)
    size = FULL_WIDTH / 2
    chance = data.overlap.loc[data.overlap["ratio"] == ratio, "expected"].mean()
    kept_at = f"Kept neurons, Jaccard, {100 * ratio:.3g}% (chance {chance:.2f})"
    titles = ["Rank correlation of scores", kept_at]
    figure, axes = _grid(models, titles, FULL_WIDTH, size)
    for row, model in zip(axes, models, strict=True):
        ranks = data.ranks[data.ranks["model"] == model]
        kept = data.overlap[(data.overlap["model"] == model) & (data.overlap["ratio"] == ratio)]
        for ax, values, column in zip(row, (ranks, kept), ("spearman", "jaccard"), strict=True):
            _matrix(ax, values, column, order, data.looks)
    return figure


def _matrix(ax: Axes, pairs: pd.DataFrame, column: str, order: list[str], looks: dict[str, Look]) -> None:
    """Draw the mean of a column for each pair of methods, below the diagonal; in figures where there is room."""
    if pairs.empty:
        _say(ax, "not measured")
        return
    present = {*pairs["method_a"], *pairs["method_b"]}
    order = [method for method in order if method in present]
    means = pairs.groupby(["method_a", "method_b"])[column].mean()
    values = np.full((len(order), len(order)), np.nan)
    for (a, b), value in means.items():
        i, j = sorted((order.index(a), order.index(b)))
        values[j, i] = value
    ax.imshow(values[1:, :-1], vmin=0, vmax=1, cmap="Blues")
    for j, i in zip(*np.nonzero(np.isfinite(values[1:, :-1])), strict=True):
        value = values[j + 1, i]
        text = f"{value:.2f}".replace("0.", ".", 1)
        ax.text(i, j, text, ha="center", va="center", fontsize=min(6, 90 / len(order)),
                color="white" if value > 0.6 else "black")  # fmt: skip
    labels = [looks[method].label if method in looks else "Ablation" for method in order]
    size = min(7, 120 / len(order))
    ax.set_xticks(range(len(order) - 1), labels[:-1], rotation=90, fontsize=size)
    ax.set_yticks(range(len(order) - 1), labels[1:], fontsize=size)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _focus(values: pd.DataFrame) -> float:
    """Return the ratio of pruned models that is nearest to `FOCUS`."""
    return min(_ratios(values), key=lambda ratio: abs(ratio - FOCUS))


def scores(data: Collected) -> Figure:
    """Draw the distribution of each layer's scores over the layer's mean, a facet per method."""
    by = ["model", "method", "layer", "quantile"]
    values = data.quantiles.groupby(by, as_index=False)["score"].mean()
    if values.empty:
        return _not_measured("Scores")
    models, methods = sorted({*values["model"]}), _pruned(values, data.looks)
    lines = ceil(len(methods) / 5)
    columns = ceil(len(methods) / lines)
    figure = Figure(figsize=(FULL_WIDTH, 1.25 * lines * len(models) + 0.3), layout="constrained")
    axes = figure.subplots(lines * len(models), columns, squeeze=False, sharex=True, sharey=True)
    for block, model in zip(np.split(axes, len(models)), models, strict=True):
        for ax, method in zip(block.flat, methods, strict=False):
            facet = values[(values["model"] == model) & (values["method"] == method)]
            ax.set_title(data.looks[method].label, loc="left")
            if facet.empty:
                _say(ax, "not measured")
            else:
                _bands(ax, facet.pivot(index="layer", columns="quantile", values="score"), data.looks[method])
        for ax in block.flat[len(methods) :]:
            ax.set_axis_off()
        for ax in block[:, -1] if len(models) > 1 else ():
            _strip(ax, model)
    # The last axes of each column, which need not all be in the last row.
    for ax in block.flat[len(methods) - columns : len(methods)]:
        ax.set_xlabel("Layer")
        ax.tick_params(labelbottom=True)
    figure.supylabel("Score / mean of the layer", fontsize=8)
    _legend(
        figure,
        [
            Line2D([], [], color=BLACK, label="Median"),
            Patch(color=BLACK, alpha=0.45, linewidth=0, label="25 to 75 %"),
            Patch(color=BLACK, alpha=0.2, linewidth=0, label="5 to 95 %"),
            Line2D([], [], color=BLACK, linestyle=":", linewidth=0.9, label="Largest"),
        ],
    )
    return figure


def _bands(ax: Axes, quantiles: pd.DataFrame, look: Look) -> None:
    for low, high, alpha in ((0.05, 0.95, 0.2), (0.25, 0.75, 0.35)):
        ax.fill_between(
            quantiles.index, quantiles[low], quantiles[high], color=look.colour, alpha=alpha, linewidth=0
        )
    ax.plot(quantiles.index, quantiles[0.5], color=look.colour)
    ax.plot(quantiles.index, quantiles[1.0], color=look.colour, linestyle=":", linewidth=0.9)
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def neurons(data: Collected) -> Figure:
    """Draw the scores of the neurons of each model's middle layer, the idea of the paper's Figure 2.

    On the left each method's scores in its own order, on the right all in the order of entropy's, so that the
    same neuron has the same place.
    """
    if data.neurons.empty:
        return _not_measured("Scores")
    models = sorted({*data.neurons["model"]})
    methods = [method for method in COMPARED if method in set(data.neurons["method"])]
    methods = methods or _pruned(data.neurons, data.looks)[:3]
    titles = ["Each in its own order", f"In the order of {data.looks[methods[0]].label}"]
    figure, axes = _grid(models, titles, FULL_WIDTH, 1.8, sharex=True, sharey="row")
    for row, model in zip(axes, models, strict=True):
        layer = data.neurons[data.neurons["model"] == model]
        wide = layer.pivot(index="neuron", columns="method", values="score")
        present = [method for method in methods if method in wide]
        wide = wide.sort_values(present[0], ascending=False)
        every = ceil(len(wide) / 1000)  # enough to see, few enough to open
        for method in present:
            look = data.looks[method]
            place = 100 * (np.arange(len(wide)) + 0.5) / len(wide)
            row[0].plot(place, np.sort(wide[method])[::-1], color=look.colour)
            dots = {"linestyle": "", "marker": ".", "markersize": 2, "markeredgewidth": 0}
            line = {} if method == present[0] else dots
            step = 1 if method == present[0] else every
            row[1].plot(place[::step], wide[method][::step], color=look.colour, zorder=2 + (not line), **line)
        for ax in row:
            ax.set_yscale("log", nonpositive="mask")  # a criterion may leave neurons without a score
            ax.yaxis.set_minor_locator(NullLocator())
        row[0].set_ylabel(f"Score / mean, layer {layer['layer'].iloc[0]}")
    _xlabel(axes, "Neurons (%)")
    lines = [
        Line2D([], [], color=data.looks[method].colour, label=data.looks[method].label) for method in methods
    ]
    _legend(figure, lines)
    return figure


def distributions(data: Collected) -> Figure:
    """Draw what criteria see in real next-token distributions, the idea of the paper's Figure 1.

    A column per position, of low, middling and high entropy: the likeliest tokens with their probabilities, and
    the derivatives of cross-entropy and entropy with respect to their logits.
    """
    if data.distributions.empty:
        return _not_measured("Next-token distributions")
    facets = [*data.distributions.groupby(["model", "level"])]
    models = sorted({*data.distributions["model"]})
    columns = len(facets) // len(models)
    figure, axes = _grid(models, [""] * columns, FULL_WIDTH, 1.9)
    for ax, (_, facet) in zip(axes.flat, facets, strict=True):
        ys = np.arange(len(facet))
        ax.barh(ys, facet["probability"], color="#D9D9D9", height=0.7)
        for method in ("cross_entropy", "entropy"):
            look = METHODS[method]
            ax.plot(
                facet[f"{method}_gradient"], ys, color=look.colour, marker=look.marker, linestyle="", **_EDGE
            )
        ax.axvline(0, color=GREY, linewidth=0.6)
        ax.grid(axis="x")
        ax.grid(False, axis="y")
        ax.set(xlim=(-1.05, 1.05), yticks=ys, yticklabels=map(_token, facet["token"]))
        for label, is_target in zip(ax.get_yticklabels(), facet["is_target"], strict=True):
            label.set_fontweight("bold" if is_target else "normal")
        ax.invert_yaxis()
        context = _literal(facet["context"].iloc[0][-30:])
        ax.set_title(f"…{context}\nH = {facet['entropy'].iloc[0]:.1f} nats", loc="left", fontsize=7)
    _xlabel(axes, "Probability; derivative by the logit")
    handles: list[Artist] = [Patch(color="#D9D9D9", label="Probability")]
    handles += [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=f"∂{look.label} / ∂logit")
        for look in (METHODS["cross_entropy"], METHODS["entropy"])
    ]
    _legend(figure, handles, "Bold: the next token of the text")
    return figure


def _token(text: str) -> str:
    """Return a token as shown: blanks and line ends visible, a long one cut."""
    visible = _literal(text.replace(" ", "␣"))
    return visible if len(visible) <= 12 else visible[:11] + "…"


def _literal(text: str) -> str:
    """Return text that matplotlib can draw in one line, and takes for no mathematics."""
    line = text.replace("\n", "⏎")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line).replace("$", r"\$")


def calibration(data: Collected) -> Figure:
    """Draw agreement, JS distance and perplexity against the number of calibration sequences.

    Agreement is that on the way, of the method that read most; the others are those of methods which differ in
    nothing but their number of sequences, at the lowest ratio.
    """
    if data.marks.empty:
        return _not_measured("Agreement of calibration halves")
    rows = by_sequences(data.results, data.marks)
    models = sorted({*data.marks["model"]})
    figure, axes = _grid(models, ["", "", ""], FULL_WIDTH, 1.9, sharex=True)
    drawn: list[str] = []
    for row, model in zip(axes, models, strict=True):
        marks = data.marks[data.marks["model"] == model]
        by_length = marks.sort_values("sequences")
        longest = by_length.groupby(SCORED, sort=False)["method"].last()
        for method in longest:
            curve = marks[marks["method"] == method].groupby("sequences")["agreement"].mean()
            row[0].plot(curve.index, curve, color=data.looks[method].colour, **_EDGE, marker=".")
        shown = rows[(rows["model"] == model) & (rows["ratio"] == rows["ratio"].min())]
        for scored, line in shown.groupby(SCORED):
            look = data.looks[longest[scored]]
            for ax, metric in zip(row[1:], OUTCOMES, strict=True):
                _points(ax, look, line["sequences"], line[metric], yerr=line[f"{metric}_half"])
        drawn += [*longest]
        row[0].set_ylabel("Agreement of halves")
        for ax, metric in zip(row[1:], OUTCOMES, strict=True):
            ax.set_ylabel(metric_label(metric))
        for ax in row:
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _xlabel(axes, "Calibration sequences")
    _legend(figure, _handles(drawn, data.looks), "Bars: 95 % intervals over documents")
    return figure


def claims(data: Collected) -> Figure:
    """Draw a forest plot: our effect on every claim with its 95 % interval, and the published effect as a mark.

    The claimed side is shaded. What was neither run nor published has no line.
    """
    rows = data.claims
    if len(rows):
        rows = rows[
            rows[["effect", "published"]].notna().any(axis=1) & (rows["metric"] != AVERAGE_WITHOUT_CROWS)
        ]
    if rows.empty:
        return _not_measured("Claims")
    panels = [panel for _, panel in rows.groupby("claim", sort=False)]
    heights = np.cumsum([len(panel) + 4 for panel in panels])  # in lines: four for title and axis
    half = int(np.searchsorted(heights, heights[-1] / 2)) + 1
    columns = [column for column in (panels[:half], panels[half:]) if column]
    figure = Figure(figsize=(FULL_WIDTH, 0.14 * heights[half - 1] + 0.3), layout="constrained")
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, column in zip(parts, columns, strict=True):
        axes = part.subplots(len(column), 1, squeeze=False, height_ratios=[len(panel) for panel in column])
        for ax, panel in zip(axes[:, 0], column, strict=True):
            _forest(ax, panel)
    marks = [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **_EDGE)
        for verdict, look in VERDICTS.items()
        if verdict in set(rows["verdict"])
    ]
    marks += [
        Line2D([], [], label=label, **_PUBLISHED, **shape)
        for confidence, (label, shape) in PUBLISHED.items()
        if confidence in set(rows["confidence"])
    ]
    _legend(figure, marks, "Bars: 95 % intervals. Shaded: the claimed side")
    return figure


def comparison(data: Collected) -> Figure:
    """Draw how every method differs from the reference, at the ratio nearest to `FOCUS`: a line each.

    Ordered by what the study sets otherwise; the shaded side is the better one.
    """
    rows = data.comparison
    if rows.empty:
        return _not_measured("Comparison of methods")
    rows = rows[rows["ratio"] == _focus(rows)]
    models = [*dict.fromkeys(rows["model"])]
    panels = {
        "overlap": ("Overlap", None, 0),
        "ablation_correlation": ("Ablation corr.", None, 0),
        "js_distance": ("Δ JS distance", 0, -1),
        "perplexity_ratio": ("Perplexity ratio", 1, -1),
        "points": ("Δ accuracy (points)", 0, 1),
    }
    panels = {column: panel for column, panel in panels.items() if rows[column].notna().any()}
    if not panels:
        return _not_measured("Comparison of methods")
    lines = max(rows.groupby("model").size())
    references = {data.looks[name].label for name in rows["reference"]}
    against = references.pop() if len(references) == 1 else "the reference calibrated alike"
    figure, axes = _grid([""] * len(models), [""] * len(panels), FULL_WIDTH, 0.14 * lines + 0.5, sharey="row")
    for row, model in zip(axes, models, strict=True):
        shown = rows[rows["model"] == model].reset_index(drop=True)
        for ax, (column, (label, than, better)) in zip(row, panels.items(), strict=True):
            _effects(ax, shown, column, data.looks, than, better)
            ax.set_xlabel(label)
        # Not at the right, as in other figures: there stands what differs.
        of = f"{model}: " if len(models) > 1 else ""
        row[0].set_title(f"{of}against {against}, {100 * shown['ratio'][0]:.3g}% removed", loc="left")
        names = [
            data.looks[line.method].label + ("" if pd.isna(line.seed) else f", seed {line.seed:.0f}")
            for line in shown.itertuples()
        ]
        row[0].set(yticks=range(len(shown)), yticklabels=names, ylim=(len(shown) - 0.5, -0.5))
        # On the right, where they have room: what differs, once for all lines that differ in it.
        first = shown["differs"].notna() & ~shown["differs"].duplicated()
        for y, text in shown.loc[first, "differs"].items():
            row[-1].annotate(text, (1.03, y), xycoords=("axes fraction", "data"), va="center", fontsize=6)
            for ax in row:
                ax.axhline(y - 0.5, color="#D9D9D9", linewidth=0.5, zorder=0)
    handles = [
        Line2D([], [], color=BLACK, linewidth=0.7, label="95 % interval"),
        Patch(color="#EAF2F8", linewidth=0, label="Better side"),
    ]
    _legend(figure, handles, "Right: what the study sets otherwise than for the reference")
    return figure


def _effects(
    ax: Axes, rows: pd.DataFrame, column: str, looks: dict[str, Look], than: float | None, better: int
) -> None:
    """Draw a column of the comparison, a line each, with its interval where it has one.

    What lies far off the rest stands at the edge as a number, so that the rest can be told apart.
    """
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    if than is None:
        for y, row in rows.iterrows():
            _points(ax, looks[row["method"]], row[column], y)
        ax.set_xlim(min(0, rows[column].min()), 1)
        return
    distance = (rows[column] - than).abs()
    far = distance > 4 * distance.median()
    for y, row in rows[~far].iterrows():
        bar = [[row[column] - row[f"{column}_low"]], [row[f"{column}_high"] - row[column]]]
        _points(ax, looks[row["method"]], row[column], y, xerr=None if np.isnan(bar).any() else bar)
    low, high = ax.get_xlim()
    low, high = min(low, than), max(high, than)
    for y, value in rows.loc[far, column].items():
        right = value > than
        text = f"{value:,.3g} →" if right else f"← {value:,.3g}"
        ax.text(high if right else low, y, text, ha="right" if right else "left", va="center", fontsize=6)
    ax.axvspan(*((low, than) if better < 0 else (than, high)), color="#EAF2F8", zorder=0, linewidth=0)
    ax.axvline(than, color=GREY, linewidth=0.8, zorder=1)
    ax.set_xlim(low, high)


def _forest(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the comparisons of one claim, a line each."""
    for y, row in enumerate(rows.itertuples()):
        if look := VERDICTS.get(row.verdict):
            bar = None if np.isnan(row.low) else [[row.effect - row.low], [row.high - row.effect]]
            _points(ax, look, row.effect, y, xerr=bar)
        if row.confidence in PUBLISHED:
            ax.plot(row.published, y, **_PUBLISHED, **PUBLISHED[row.confidence][1])
    first = rows.iloc[0]
    than = first["than"]
    ax.axvline(than, color=GREY, linewidth=0.8, zorder=1)
    ax.margins(x=0.06)
    low, high = ax.get_xlim()
    side = (than, high) if first["relation"] == "higher" else (low, than)
    ax.axvspan(*side, color="#EAF2F8", zorder=0, linewidth=0)
    ratios = ["" if np.isnan(ratio) else f", {100 * ratio:.3g}%" for ratio in rows["ratio"]]
    names = [model + ratio for model, ratio in zip(rows["model"], ratios, strict=True)]
    ax.set(xlim=(low, high), yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.set_title(fill(first["sentence"], 42), loc="left", fontsize=7)
    ax.set_xlabel(f"Difference ({first['unit']})" if first["unit"] != "ratio" else "Ratio")


# The name of a figure's files, and what draws it.
FIGURES: dict[str, Callable[[Collected], Figure]] = dict(
    zip(
        layout.FIGURES,
        (
            *(accuracy, published, fidelity, tasks, overlap, agreement),
            *(scores, neurons, distributions, calibration, claims, comparison),
        ),
        strict=True,
    )
)

# Without these dates the same input gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(folder: Path, paper: Path, out: Path) -> None:
    """Write every figure of `FIGURES` as `<name>.pdf`, `.svg` and `.png`; what is missing is said in the figure.

    Args:
        folder: what `hfprune.analysis.collect.collect` wrote.
        paper: folder of the published tables.
        out: folder, created where missing.

    Raises:
        HfpruneError: a table in `folder` is missing, or a task has no metric that the paper's rule knows.
    """
    data = Collected.read(folder, paper)
    for name, draw in FIGURES.items():
        # Defaults first: a user's matplotlibrc must not change the figures.
        with style.context(["default", RC]):
            figure = draw(data)
            for suffix, metadata in _METADATA.items():
                with atomic_file(out / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix, metadata=metadata)


def _grid(
    rows: Sequence[str], columns: Sequence[str], width: float, height: float, **share: Any
) -> tuple[Figure, np.ndarray]:
    """Return axes in rows (named on the right where there are several) and columns (named on top), in inches."""
    figure = Figure(figsize=(width, height * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False, **share)
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, loc="left")
    if len(rows) > 1:
        for ax, name in zip(axes[:, -1], rows, strict=True):
            _strip(ax, name)
    return figure, axes


def _wrap(names: Sequence[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return one axes per name, three abreast; a single one is `width` inches wide and goes without its name."""
    columns = min(len(names), 3)
    rows = ceil(len(names) / columns)
    figure = Figure(
        figsize=(width if columns == 1 else FULL_WIDTH, height * rows + 0.5), layout="constrained"
    )
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(len(names))]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name if len(names) > 1 else "", loc="left")
    return figure, axes


def _strip(ax: Axes, name: str) -> None:
    """Name a row of axes at the right of its last one."""
    ax.annotate(name, (1.03, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=8)


def _xlabel(axes: np.ndarray, label: str) -> None:
    # Not supxlabel: a legend outside the axes would cover it.
    for ax in axes[-1]:
        ax.set_xlabel(label)


def _facets(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split into rows of facets: one per model, and per recovery where there are several."""
    by = ["model", "recovery"] if values["recovery"].nunique() > 1 else ["model"]
    order = values.sort_values(by, key=lambda part: part.map(lambda name: (name != "none", name)))
    return {", ".join(key): facet for key, facet in order.groupby(by, sort=False)}


def _pruned(values: pd.DataFrame, looks: dict[str, Look]) -> list[str]:
    """Return the methods that prune, in their order."""
    return [method for method in looks if method != DENSE and method in set(values["method"])]


def _ratios(values: pd.DataFrame) -> list[float]:
    """Return the ratios of pruned models; of the dense one where nothing is pruned yet."""
    ratios = sorted(set(values["ratio"]))
    return [ratio for ratio in ratios if ratio > 0] or ratios


def _percents(ratios: list[float]) -> list[str]:
    return [f"{100 * ratio:.3g}% removed" for ratio in ratios]


def _width(facets: Sequence[Any]) -> float:
    return COLUMN_WIDTH if len(facets) == 1 else FULL_WIDTH


def _dodge(count: int, width: float) -> np.ndarray:
    """Return offsets that set `count` marks side by side within `width`, around 0."""
    return (np.arange(count) - (count - 1) / 2) * width / max(count, 1)


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
    methods = _pruned(pd.concat([values[["method"]], printed[["method"]]]), looks)
    ratios = [100 * ratio for ratio in _ratios(values)]
    gap = min(np.diff(ratios), default=10)
    for method, offset in zip(
        methods, _dodge(len(methods), min(0.6, 0.05 * len(methods)) * gap), strict=True
    ):
        shown = values[values["method"] == method].sort_values("ratio")
        _points(ax, looks[method], 100 * shown["ratio"] + offset, shown["value"], yerr=shown["half"])
        hollow = printed[(printed["method"] == method) & printed["ratio"].isin(values["ratio"])]
        if len(hollow):
            mark = _HOLLOW | {"marker": looks[method].marker, "color": looks[method].colour}
            ax.plot(100 * hollow["ratio"] + offset, hollow["value"], **mark)
    ax.set_xticks(ratios, [f"{ratio:.3g}" for ratio in ratios])
    ax.set_xlim(ratios[0] - 0.5 * gap, ratios[-1] + 0.5 * gap)


def _points(ax: Axes, look: Look, x: pd.Series, y: pd.Series, **options: Any) -> None:
    ax.errorbar(x, y, color=look.colour, marker=look.marker, elinewidth=0.7, **_EDGE, **options)


def _log(ax: Axes) -> None:
    """Make y logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _handles(methods: Iterable[str], looks: dict[str, Look], marked: Iterable[str] = ()) -> list[Artist]:
    """Return legend entries in the methods' order; the dense model is a level, unless `marked` has it."""
    present = set(methods)
    return [
        Line2D([], [], color=BLACK, linestyle="--", linewidth=0.8, label=look.label)
        if method == DENSE and method not in marked
        else Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **_EDGE)
        for method, look in looks.items()
        if method in present
    ]


def _meaning(values: pd.DataFrame, units: str = "items") -> str:
    """Say what the error bars are, or nothing where there are none."""
    over = "seeds" if spread(values) == "sd" else units
    return f"Bars: 95 % intervals over {over}" if values["half"].notna().any() else ""


def _legend(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, in as few rows as the width allows, and make room for it."""
    widest = 0.42 + 0.05 * max(len(str(handle.get_label())) for handle in handles)
    rows = ceil(len(handles) * widest / figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + 0.15 * (rows + bool(title)) + 0.1)
    figure.legend(handles=handles, loc="outside lower center", ncols=ceil(len(handles) / rows), title=title)


def _not_measured(what: str) -> Figure:
    return _sentence(f"{what}: not measured")


def _sentence(text: str) -> Figure:
    figure = Figure(figsize=(COLUMN_WIDTH if len(text) < 50 else FULL_WIDTH, 0.8))
    _say(figure.subplots(), text)
    return figure


def _say(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
