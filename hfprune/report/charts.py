"""Charts: values of groups at places, with their intervals; `hfprune.report.drawing.panels` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.report.style import Look, recovery_label
from hfprune.results.averages import error_column
from hfprune.results.declarations import Declarations
from hfprune.rounding import DIGITS, percent

FOCUS = 0.2  # charts of a single ratio show this one or the nearest; the paper's first
OUTCOME = ["measure", "metric", "task"]
THOUSANDS = 1e4  # from here on, a number at the edge of an axis is in thousands
# What marks mean in every figure of effects.
MARKS = "Filled: significant after Holm's correction; hollow: not significant, or not tested"
ARROWS = {"higher": "↑", "lower": "↓"}
BARS = "Bars: 95 % intervals"


@dataclass(frozen=True)
class Chart:
    """Values of groups at places; a line joins the points of a group.

    With `names`, places are the numbers of lines with these names, the first on top; values run across and are not
    joined.
    """

    rows: pd.DataFrame
    """`group` (a key of `looks`), `place`, `value`, and `low` and `high`, the ends of its interval (missing if
    unknown). A row without a place is a level at all places. Optional: `hollow` tells which effects are not
    significant, `published` which numbers are the paper's; `neutral` is the value between better and worse in a
    row with a name."""
    looks: Mapping[str, Look]
    value: str
    """Title of the values' axis."""
    place: str = ""
    """Title of the places' axis."""
    names: Sequence[str] = ()
    heading: str = ""
    log: bool = False
    """Whether the values' axis is logarithmic."""
    log_place: bool = False
    marked: float | None = None
    """A place at which a line stands across the chart."""
    ends: tuple[float, float] | None = None
    """Ends of the values' axis (None: by the rows); a row beyond them is a number at the edge."""
    ticks: Sequence[str] = ()
    """Names of the places 0, 1 and so on, of an axis of categories."""
    better: int = 0
    """1 if values above `neutral` are better, -1 if those below are."""
    tall: float = 1.0
    """Height of a line, for several marks in each."""


def facets(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split values into facets by name: one per model, and per calibration and recovery where there are several.

    Each facet includes the dense model with the same training, which reconstruction and calibration leave as it
    is. The dense model has a facet of its own only if none has a pruned model.
    """
    dense = values[values["method"] == DENSE]
    cut = values.drop(dense.index)
    several = [name for name in ("calibrated", "recovery") if name in values and values[name].nunique() > 1]
    if "calibrated" in several and cut["calibrated"].nunique() < 2:
        several.remove("calibrated")
    by = ["model", *several]
    order = values.sort_values(by, key=lambda part: part.map(lambda name: (name != "none", name)))
    by_name = {}
    for key, facet in order.groupby(by, sort=False):
        place = dict(zip(by, key, strict=True))
        if DENSE not in {*facet["method"]}:
            beside = dense["model"] == place["model"]
            if "recovery" in place:
                beside &= dense["recovery"] == Recovery(place["recovery"]).of_dense
            facet = pd.concat([dense[beside], facet])
        parts = [place["model"], place.get("calibrated", "")]
        if "recovery" in place:
            parts.append(recovery_label(place["recovery"]))
        by_name[", ".join(filter(None, parts))] = facet
    return {name: facet for name, facet in by_name.items() if {*facet["method"]} != {DENSE}} or by_name


def pruned(values: pd.DataFrame, looks: Mapping[str, Look]) -> list[str]:
    """Return the methods among the values, without the dense model, in the order of `looks`."""
    return [method for method in looks if method != DENSE and method in set(values["method"])]


def ratios(values: pd.DataFrame) -> list[float]:
    """Return the ratios in ascending order, without the dense model's 0 unless there is no other."""
    ratios = sorted(set(values["ratio"]))
    return [ratio for ratio in ratios if ratio > 0] or ratios


def focus(values: pd.DataFrame) -> float:
    """Return the ratio nearest to `FOCUS`."""
    return min(ratios(values), key=lambda ratio: abs(ratio - FOCUS))


def directed(label: str, better: str) -> str:
    """Return the label of an axis with an arrow that says which way is better: `higher`, `lower` or neither."""
    return "\N{NO-BREAK SPACE}".join(filter(None, [label, ARROWS.get(better, "")]))


def share_removed(ratio: float) -> str:
    """Return the part of a heading that gives the ratio, as `20 % removed`."""
    return f"{percent(ratio)} removed"


def meaning(values: pd.DataFrame) -> str:
    """Return what a legend says of bars, band and recovery."""
    over = "draws and items" if error_column(values) == "sd" else "items of one draw"
    has_interval = values["low"].notna()
    band = ", and the dense model's band" if (has_interval & (values["method"] == DENSE)).any() else ""
    bars = f"Bars{band}: 95 % intervals over {over}" if has_interval.any() else ""
    recoveries = {*values.loc[values["method"] != DENSE, "recovery"]} - {"none"}
    only = values["recovery"].nunique() == 1 or len(facets(values)) == values["model"].nunique()
    after = [f"After {recovery_label(name)}" for name in recoveries if only and len(recoveries) == 1]
    return ". ".join(filter(None, [*after, bars]))


def outcomes(
    values: pd.DataFrame,
    labels: Mapping[Any, str],
    looks: Mapping[str, Look],
    declared: Declarations,
    printed: pd.DataFrame | None = None,
) -> list[tuple[str, list[Chart | str]]]:
    """Return the charts of outcomes over the ratio or, in a facet of one ratio, by method, the best on top.

    Facets of one model and kind have the same axis, so that recoveries can be compared by eye. The first of
    `labels`, which are by measure, metric and task, decides the order of methods. Each facet has a name, and for
    each label a chart, or a sentence where the outcome was not measured.
    """
    metrics = {key: declared.find(*key[:2]).metric for key in labels}
    figure: list[tuple[str, list[Chart | str]]] = []
    same_axis: dict[tuple[Any, ...], list[Chart]] = {}
    for name, facet in facets(values).items():
        cut = facet[facet["method"] != DENSE]
        single = cut["ratio"].nunique() == 1
        parts = {
            key: part for key, part in facet.groupby(OUTCOME) if {*part["method"]} != {DENSE} or cut.empty
        }
        order: dict[str, None] = {}
        for key in (key for key in labels if key in parts):
            ranked = parts[key].sort_values(
                ["value", "method"], ascending=[metrics[key].better != "higher", True]
            )
            order |= dict.fromkeys(ranked["method"])
        order.pop(DENSE, None)
        row: list[Chart | str] = []
        for key, label in labels.items():
            if key not in parts:
                row.append(f"{label}\nnot measured")
                continue
            rows, model = parts[key].assign(published=False), facet["model"].iloc[0]
            if printed is not None:
                beside = printed.merge(facet[["model", "recovery"]].drop_duplicates())
                rows = pd.concat([rows, beside.assign(published=True)], ignore_index=True)
                order |= dict.fromkeys(pruned(beside, looks))
            title = directed(label, metrics[key].better)
            chart = _against_ratio(rows, looks, title, [*order] if single else [])
            same_axis.setdefault((model, key, single), []).append(chart)
            row.append(chart)
        figure.append((f"{name}, {share_removed(ratios(facet)[0])}" if single else name, row))
    shared = {id(chart): shared_ends(charts) for charts in same_axis.values() for chart in charts}
    return [
        (name, [cell if isinstance(cell, str) else replace(cell, ends=shared[id(cell)]) for cell in row])
        for name, row in figure
    ]


def _against_ratio(rows: pd.DataFrame, looks: Mapping[str, Look], title: str, order: Sequence[str]) -> Chart:
    rows = rows.rename(columns={"method": "group"})
    if order:
        place = rows["group"].map({method: i for i, method in enumerate(order)}).astype(float)
        names = [looks[method].label for method in order]
        return Chart(rows.assign(place=place), looks, title, names=names)
    methods, removed = pruned(rows.assign(method=rows["group"]), looks), ratios(rows)
    aside = dodge(len(methods), min(0.7, 0.1 * len(methods)))
    place = rows["ratio"].map({ratio: i for i, ratio in enumerate(removed)})
    place += rows["group"].map(dict(zip(methods, aside, strict=True)))
    rows, ticks = rows.assign(place=place).sort_values("place"), [f"{100 * ratio:.3g}" for ratio in removed]
    return Chart(rows, looks, title, "Parameters removed (%)", ticks=ticks)


def dodge(count: int, width: float) -> np.ndarray:
    """Return offsets that set `count` marks side by side within `width`, around 0."""
    return (np.arange(count) - (count - 1) / 2) * width / max(count, 1)


def shared_ends(charts: Sequence[Chart]) -> tuple[float, float]:
    """Return the ends of one axis for charts that are compared by eye, each about its own level or median."""
    ends = []
    for chart in charts:
        levels = chart.rows.loc[chart.rows["place"].isna(), "value"]
        middle = float((levels if len(levels) else chart.rows["value"]).median())
        ends.append(span(chart.rows, middle, chart.log, bool(chart.names)))
    return min(low for low, _ in ends), max(high for _, high in ends)


def span(rows: pd.DataFrame, middle: float, log: bool, near: bool = True) -> tuple[float, float]:
    """Return the ends of an axis for all intervals except those of values so far that they would hide the rest."""
    change: Any = np.log if log else np.asarray
    changes = rows[["value", "low", "high"]].astype(float).dropna(subset="value")
    # Differences by rounding become zero, since an axis as narrow as these would show nothing else.
    changes = (changes.transform(change) - change(middle)).round(DIGITS).sort_values("value", key=abs)
    distance, reach = changes["value"].abs(), changes.abs().max(axis=1)
    # Such a value lies a margin beyond all intervals that are nearer, and its own interval reaches 2.5 times as
    # far; and it is far not only in comparison with values that hardly differ.
    nearer = reach.cummax().shift(fill_value=np.inf)
    far = ((distance > 1.2 * nearer) & (reach > 2.5 * nearer) & (distance > 4 * distance.median())).cummax()
    kept = changes[~far] if near else changes
    low, high = min(0, kept.min(axis=None)), max(0, kept.max(axis=None))
    margin = 0.06 * (high - low) or 0.1
    low, high = change(middle) + low - margin, change(middle) + high + margin
    return (float(np.exp(low)), float(np.exp(high))) if log else (float(low), float(high))


def at_edge(row: Any, chart: Chart) -> str:
    """Return as text the value of a row that lies beyond its chart's axis, with its interval if there is one."""
    text, low, high = map(_short, (row.value, row.low, row.high))
    text += f" ({low} to {high})" if row.low <= row.high else ""
    return f"{text} →" if chart.ends and row.value > chart.ends[1] else f"← {text}"


def _short(value: float) -> str:
    thousands = abs(value) >= THOUSANDS
    number = f"{float(f'{value / 1000**thousands:.2g}'):,g}" + "k" * thousands
    return number.replace("-", "−")


def beyond(chart: Chart) -> pd.Series:
    """Tell which rows of a chart have a value that lies beyond the ends of its axis."""
    low, high = chart.ends or (-np.inf, np.inf)
    return (chart.rows["value"] < low) | (chart.rows["value"] > high)
