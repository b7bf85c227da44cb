"""Figures of criteria: the distributions they read, their scores, and their agreement on the neurons to keep."""

from math import ceil
from typing import Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hfprune.analysis.neurons import ABLATION
from hfprune.analysis.reference import REFERENCE
from hfprune.report.figures import drawing
from hfprune.report.figures.collected import Collected
from hfprune.report.figures.drawing import BLACK, EDGE, GREY
from hfprune.report.style import FULL_WIDTH, METHODS, Look

COMPARED = (REFERENCE, "cross_entropy", "distillation")  # the criteria that the paper compares
LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


def overlap(data: Collected) -> Figure:
    """Draw, layer by layer, the Jaccard index of the neurons kept by entropy and by each other method.

    If entropy is not in the study, the first method takes its place.
    """
    pairs = data.overlap
    if pairs.empty:
        return drawing.not_measured("Overlap of kept neurons")
    present = {*pairs["method_a"], *pairs["method_b"]}
    reference = next(method for method in (REFERENCE, *data.looks) if method in present)
    pairs = pairs[(pairs["method_a"] == reference) | (pairs["method_b"] == reference)]
    other = pairs["method_b"].where(pairs["method_a"] == reference, pairs["method_a"])
    by = ["model", "ratio", "method", "layer"]
    values = pairs.assign(method=other).groupby(by, as_index=False)[["jaccard", "expected"]].mean()
    models, ratios, methods = (
        sorted({*values["model"]}),
        drawing.ratios(values),
        drawing.pruned(values, data.looks),
    )
    figure, axes = drawing.grid(
        models, drawing.percents(ratios), drawing.width(ratios), 1.7, sharex=True, sharey=True
    )
    for row, model in zip(axes, models, strict=True):
        for ax, ratio in zip(row, ratios, strict=True):
            facet = values[(values["model"] == model) & (values["ratio"] == ratio)]
            chance = facet.groupby("layer")["expected"].mean()
            ax.plot(chance.index, chance, color=BLACK, linestyle="--", linewidth=0.8)
            for i, method in enumerate(methods):
                shown, look = facet[facet["method"] == method], data.looks[method]
                step = ceil(len(shown) / 6) or 1
                options = {"color": look.colour, "marker": look.marker, "linestyle": look.line, **EDGE}
                ax.plot(shown["layer"], shown["jaccard"], markevery=(i % step, step), **options)
            ax.set_ylim(0, 1)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        row[0].set_ylabel(f"Jaccard with {data.looks[reference].label}")
    drawing.xlabel(axes, "Layer")
    random = Line2D([], [], color=BLACK, linestyle="--", linewidth=0.8, label="Chance")
    drawing.legend(figure, [*drawing.handles(methods, data.looks), random])
    return figure


def agreement(data: Collected) -> Figure:
    """Draw the agreement of each pair of methods: Spearman's correlation of scores, and overlap of kept neurons.

    Both are means over layers and seeds, below the diagonal only. The left has a row for the effect of ablating
    single neurons; the right is at the ratio nearest to `FOCUS`.
    """
    if data.ranks.empty or data.overlap.empty:
        return drawing.not_measured("Agreement of scores and plans")
    models = sorted({*data.ranks["model"]})
    pairs = pd.concat([data.ranks, data.overlap])
    present = {*pairs["method_a"], *pairs["method_b"]}
    order = [method for method in data.looks if method in present]
    order += [ABLATION] * (ABLATION in present)
    ratio = drawing.focus(data.overlap)
    size = FULL_WIDTH / 2
    chance = data.overlap.loc[data.overlap["ratio"] == ratio, "expected"].mean()
    kept_at = f"Kept neurons, Jaccard, {100 * ratio:.3g}% (chance {chance:.2f})"
    titles = ["Rank correlation of scores", kept_at]
    figure, axes = drawing.grid(models, titles, FULL_WIDTH, size)
    for row, model in zip(axes, models, strict=True):
        ranks = data.ranks[data.ranks["model"] == model]
        kept = data.overlap[(data.overlap["model"] == model) & (data.overlap["ratio"] == ratio)]
        for ax, values, column in zip(row, (ranks, kept), ("spearman", "jaccard"), strict=True):
            _matrix(ax, values, column, order, data.looks)
    return figure


def _matrix(ax: Axes, pairs: pd.DataFrame, column: str, order: list[str], looks: dict[str, Look]) -> None:
    """Draw the mean of a column for each pair of methods, below the diagonal, with its number."""
    if pairs.empty:
        drawing.say(ax, "not measured")
        return
    present = {*pairs["method_a"], *pairs["method_b"]}
    order = [method for method in order if method in present]
    means = pairs.groupby(["method_a", "method_b"])[column].mean()
    values = np.full((len(order), len(order)), np.nan)
    for (a, b), value in means.items():
        i, j = sorted((order.index(a), order.index(b)))
        values[j, i] = value
    labels = [looks[method].label if method in looks else "Ablation" for method in order]
    size = min(7, 120 / len(order))
    texts = np.array([[f"{value:.2f}".replace("0.", ".", 1) for value in row] for row in values[1:, :-1]])
    seaborn.heatmap(
        values[1:, :-1],
        **{"vmin": 0, "vmax": 1, "cmap": "Blues", "cbar": False, "square": True, "ax": ax},
        **{"annot": texts, "fmt": "", "annot_kws": {"fontsize": min(6, 90 / len(order))}},
        **{"xticklabels": labels[:-1], "yticklabels": labels[1:]},
    )
    ax.grid(False)
    ax.tick_params(length=0, labelsize=size)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)


def scores(data: Collected) -> Figure:
    """Draw the distribution of each layer's scores divided by the layer's mean, one facet per method."""
    by = ["model", "method", "layer", "quantile"]
    values = data.quantiles.groupby(by, as_index=False)["score"].mean()
    if values.empty:
        return drawing.not_measured("Scores")
    models, methods = sorted({*values["model"]}), drawing.pruned(values, data.looks)
    lines = ceil(len(methods) / 5)
    columns = ceil(len(methods) / lines)
    figure = drawing.framed(FULL_WIDTH, 1.25 * lines * len(models) + 0.3)
    axes = figure.subplots(lines * len(models), columns, squeeze=False, sharex=True, sharey=True)
    for block, model in zip(np.split(axes, len(models)), models, strict=True):
        for ax, method in zip(block.flat, methods, strict=False):
            facet = values[(values["model"] == model) & (values["method"] == method)]
            ax.set_title(data.looks[method].label, loc="left")
            if facet.empty:
                drawing.say(ax, "not measured")
            else:
                _bands(ax, facet.pivot(index="layer", columns="quantile", values="score"), data.looks[method])
        for ax in block.flat[len(methods) :]:
            ax.set_axis_off()
        for ax in block[:, -1] if len(models) > 1 else ():
            drawing.strip(ax, model, 0.9)
    # The last axes of each column, which may be above the last row.
    for ax in block.flat[len(methods) - columns : len(methods)]:
        ax.set_xlabel("Layer")
        ax.tick_params(labelbottom=True)
    figure.supylabel("Score / mean of the layer", fontsize=rcParams["axes.labelsize"])
    drawing.legend(
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
    drawing.log(ax, "y", short=True)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def neurons(data: Collected) -> Figure:
    """Draw the scores of the neurons of each model's middle layer, after the idea of the paper's Figure 2.

    The left has each method's scores in their own order. The right has all in the order of entropy's scores, so
    that each neuron has one place.
    """
    if data.neurons.empty:
        return drawing.not_measured("Scores")
    models = sorted({*data.neurons["model"]})
    methods = [method for method in COMPARED if method in set(data.neurons["method"])]
    methods = methods or drawing.pruned(data.neurons, data.looks)[:3]
    titles = ["Each in its own order", f"In the order of {data.looks[methods[0]].label}"]
    figure, axes = drawing.grid(models, titles, FULL_WIDTH, 1.8, sharex=True, sharey="row")
    for row, model in zip(axes, models, strict=True):
        layer = data.neurons[data.neurons["model"] == model]
        wide = layer.pivot(index="neuron", columns="method", values="score")
        present = [method for method in methods if method in wide]
        wide = wide.sort_values(present[0], ascending=False)
        every = ceil(len(wide) / 1000)  # enough to see, few enough to open
        for method, line in zip(present, LINES, strict=False):
            look = data.looks[method]
            place = 100 * (np.arange(len(wide)) + 0.5) / len(wide)
            row[0].plot(place, np.sort(wide[method])[::-1], color=look.colour, linestyle=line)
            if method == present[0]:
                row[1].plot(place, wide[method], color=look.colour, zorder=3)
            else:
                dots = {"linestyle": "", "marker": look.marker, "markersize": 1.5, "markeredgewidth": 0}
                row[1].plot(place[::every], wide[method][::every], color=look.colour, zorder=2, **dots)
        for ax in row:
            drawing.log(ax, "y", "mask")  # a criterion may leave neurons without a score
        row[0].set_ylabel(f"Score / mean, layer {layer['layer'].iloc[0]}")
    drawing.xlabel(axes, "Neurons (%)")
    lines = [
        Line2D([], [], color=data.looks[method].colour, linestyle=line, label=data.looks[method].label)
        for method, line in zip(methods, LINES, strict=False)
    ]
    drawing.legend(figure, lines)
    return figure


def distributions(data: Collected) -> Figure:
    """Draw real next-token distributions and their gradients, after the idea of the paper's Figure 1.

    One column per position, with low, medium and high entropy: the likeliest tokens with their probabilities, and
    the derivatives of cross-entropy and entropy with respect to their logits.
    """
    if data.distributions.empty:
        return drawing.not_measured("Next-token distributions")
    facets = [*data.distributions.groupby(["model", "level"])]
    models = sorted({*data.distributions["model"]})
    columns = len(facets) // len(models)
    figure, axes = drawing.grid(models, [""] * columns, FULL_WIDTH, 1.9)
    for ax, (_, facet) in zip(axes.flat, facets, strict=True):
        ys = np.arange(len(facet))
        ax.barh(ys, facet["probability"], color="#D9D9D9", height=0.7)
        for method in ("cross_entropy", "entropy"):
            look = METHODS[method]
            ax.plot(
                facet[f"{method}_gradient"], ys, color=look.colour, marker=look.marker, linestyle="", **EDGE
            )
        ax.axvline(0, color=GREY, linewidth=0.6)
        ax.grid(axis="x")
        ax.grid(False, axis="y")
        ax.set(xlim=(-1.05, 1.05), yticks=ys, yticklabels=map(_token, facet["token"]))
        for label, is_target in zip(ax.get_yticklabels(), facet["is_target"], strict=True):
            label.set_fontweight("bold" if is_target else "normal")
        ax.invert_yaxis()
        context, entropy = _literal(facet["context"].iloc[0][-30:]), facet["entropy"].iloc[0]
        size = rcParams["xtick.labelsize"]
        ax.set_title(f"…{context}\nH = {entropy:.1f} nats", loc="left", fontsize=size)
    drawing.xlabel(axes, "Probability;\nderivative by the logit")
    handles: list[Artist] = [Patch(color="#D9D9D9", label="Probability")]
    handles += [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=f"∂{look.label} / ∂logit")
        for look in (METHODS["cross_entropy"], METHODS["entropy"])
    ]
    drawing.legend(figure, handles, "Bold: the next token of the text")
    return figure


def _token(text: str) -> str:
    """Return a token for display: blanks and line ends are visible, and a long one is cut."""
    visible = _literal(text.replace(" ", "␣"))
    return visible if len(visible) <= 12 else visible[:11] + "…"


def _literal(text: str) -> str:
    """Return text that matplotlib can draw in one line and does not read as mathematics."""
    line = text.replace("\n", "⏎")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line).replace("$", r"\$")
