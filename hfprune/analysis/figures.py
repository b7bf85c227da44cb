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

from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    half_width,
    over_seeds,
    primary_values,
    spread,
    with_averages,
)
from hfprune.analysis.collect import CLAIMS, OVERLAP, QUANTILES, RESULTS, read_collected
from hfprune.analysis.style import (
    COLUMN_WIDTH,
    FULL_WIDTH,
    RC,
    VERDICTS,
    Look,
    looks,
    metric_label,
    tasks_in_order,
)
from hfprune.files import atomic_file
from hfprune.results import DENSE

REFERENCE = "entropy"  # the paper's criterion, with which the overlap figure compares the others
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


@dataclass(frozen=True)
class Collected:
    """What the figures draw: the tables that `collect` and `claims` wrote, and the look of every method."""

    results: pd.DataFrame
    overlap: pd.DataFrame
    quantiles: pd.DataFrame
    looks: dict[str, Look]
    claims: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Collected":
        """Read the folder that `collect` wrote."""
        results, overlap, quantiles = (
            read_collected(folder / name) for name in (RESULTS, OVERLAP, QUANTILES)
        )
        methods = {*results["method"], *overlap["method_a"], *overlap["method_b"], *quantiles["method"]}
        # The one table that `collect` does not write; a study can be drawn before its claims are evaluated.
        claims = read_collected(folder / CLAIMS) if (folder / CLAIMS).exists() else pd.DataFrame()
        return cls(results, overlap, quantiles, looks(methods), claims)


def accuracy(data: Collected) -> Figure:
    """Draw the paper's average zero-shot accuracy against the ratio, with 95 % intervals."""
    rows = with_averages(data.results)
    values = over_seeds(rows[rows["task"] == AVERAGE])
    if values.empty:
        return _not_measured("Zero-shot accuracy")
    values[["value", "sd", "stderr"]] *= 100
    values["half"] = half_width(values)
    count = rows.loc[rows["metric"] != AVERAGE, "task"].nunique()
    facets = _facets(values)
    crowded = len(_pruned(values, data.looks)) * len(_ratios(values)) > 15
    figure, axes = _grid([*facets], [""], FULL_WIDTH if crowded else COLUMN_WIDTH, 2.0, sharex=True)
    for ax, facet in zip(axes[:, 0], facets.values(), strict=True):
        _against_ratio(ax, facet, data.looks)
        ax.set_ylabel(f"Average of {count} task{'s' * (count > 1)} (%)")
    _xlabel(axes, "Parameters removed (%)")
    _legend(figure, _handles(values["method"], data.looks), _meaning(values))
    return figure


def fidelity(data: Collected) -> Figure:
    """Draw JS distance, top-k Jaccard and perplexity against the ratio, with 95 % intervals."""
    values = over_seeds(data.results[data.results["measure"].isin(["fidelity", "perplexity"])])
    if values.empty:
        return _not_measured("Fidelity")
    values["half"] = half_width(values)
    facets = _facets(values)
    panels = [panel for kind in ("js_distance", "jaccard", "perplexity") for panel in _panels(values, kind)]
    figure, axes = _grid([*facets], [""] * len(panels), FULL_WIDTH, 1.8, sharex="col")
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
    _legend(figure, _handles(values["method"], data.looks), _meaning(values))
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
            ys = dense["task"].map(places)
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
    ax.set_title(fill(first["sentence"], 47), loc="left", fontsize=7)
    ax.set_xlabel(f"Difference ({first['unit']})" if first["unit"] != "ratio" else "Ratio")


# The name of a figure's files, and what draws it.
FIGURES: dict[str, Callable[[Collected], Figure]] = {
    "accuracy": accuracy,
    "fidelity": fidelity,
    "tasks": tasks,
    "overlap": overlap,
    "scores": scores,
    "claims": claims,
}

# Without these dates the same input gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def write_figures(folder: Path, out: Path) -> None:
    """Write every figure of `FIGURES` as `<name>.pdf`, `.svg` and `.png`; what is missing is said in the figure.

    Args:
        folder: what `hfprune.analysis.collect.collect` wrote.
        out: folder, created where missing.

    Raises:
        HfpruneError: a table in `folder` is missing, or a task has no metric that the paper's rule knows.
    """
    data = Collected.read(folder)
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
    return {", ".join(key): facet for key, facet in values.groupby(by)}


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


def _against_ratio(ax: Axes, values: pd.DataFrame, looks: dict[str, Look]) -> None:
    """Draw one line per method over the ratios, moved apart at each ratio, and the dense model as a level."""
    for level in values.loc[values["method"] == DENSE, "value"]:
        ax.axhline(level, color=BLACK, linestyle="--", linewidth=0.8)
    methods, ratios = _pruned(values, looks), [100 * ratio for ratio in _ratios(values)]
    gap = min(np.diff(ratios), default=10)
    for method, offset in zip(
        methods, _dodge(len(methods), min(0.6, 0.05 * len(methods)) * gap), strict=True
    ):
        shown = values[values["method"] == method].sort_values("ratio")
        _points(ax, looks[method], 100 * shown["ratio"] + offset, shown["value"], yerr=shown["half"])
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


def _handles(methods: Iterable[str], looks: dict[str, Look]) -> list[Line2D]:
    """Return legend entries in the methods' order; the dense model is a level without a marker."""
    present = set(methods)
    return [
        Line2D([], [], color=BLACK, linestyle="--", linewidth=0.8, label=look.label)
        if method == DENSE
        else Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **_EDGE)
        for method, look in looks.items()
        if method in present
    ]


def _meaning(values: pd.DataFrame) -> str:
    """Say what the error bars are, or nothing where there are none."""
    over = "seeds" if spread(values) == "sd" else "items"
    return f"Bars: 95 % intervals over {over}" if values["half"].notna().any() else ""


def _legend(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, in as few rows as the width allows, and make room for it."""
    widest = 0.42 + 0.05 * max(len(str(handle.get_label())) for handle in handles)
    rows = ceil(len(handles) * widest / figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + 0.15 * (rows + bool(title)) + 0.1)
    figure.legend(handles=handles, loc="outside lower center", ncols=ceil(len(handles) / rows), title=title)


def _not_measured(what: str) -> Figure:
    figure = Figure(figsize=(COLUMN_WIDTH, 0.8))
    _say(figure.subplots(), f"{what}: not measured")
    return figure


def _say(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
