"""Charts: values of groups with their intervals and marks, described once for print and for the page.

`hfprune.report.drawing` draws them for print, `hfprune.page.vega` for a browser.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd

from hfprune.analysis.averages import spread
from hfprune.analysis.comparison import ENDS
from hfprune.report.axis_ends import ends_if_far, span
from hfprune.report.style import Look, recovery_label
from hfprune.results import DENSE

FOCUS = 0.2  # charts of a single ratio show this one or the nearest; the paper's first
REMOVED = "Parameters removed (%)"


@dataclass(frozen=True)
class Axis:
    """An axis: its title, the base of its logarithm (0: linear), its ticks and ends (None: by the rows)."""

    title: str = ""
    log: int = 0
    ticks: Sequence[float] | None = None
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """Values of groups at places; a line joins the points of a group.

    With `names`, places are lines with these names, the first on top; values run across and are not joined.
    """

    rows: pd.DataFrame
    """`group` (a key of `looks`), `place`, `value`, and `low` and `high`, the ends of its interval (missing if not
    known). A row without a place is a level at all places. Rows that are `published` (if there is such a
    column) are hollow. A row beyond the ends of the values' axis is a number at the edge."""
    looks: Mapping[str, Look]
    value: Axis
    place: Axis = field(default_factory=Axis)
    names: Sequence[str] = ()
    neutral: float | None = None
    """The value between better and worse, if the values are effects."""
    better: int = 0
    """1 if values above `neutral` are better, -1 if those below are."""


_Panel = TypeVar("_Panel", bound=Chart | str)


def facets(values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split into facets by name: one per model, and per recovery if there are several.

    Weights that are solved again leave the dense model as it is, so it stands beside them, too. Where others have
    pruned models, it has no facet of its own.
    """
    by = ["model", "recovery"] if values["recovery"].nunique() > 1 else ["model"]
    order = values.sort_values(by, key=lambda part: part.map(lambda name: (name != "none", name)))
    found = {}
    for (model, *recovery), facet in order.groupby(by, sort=False):
        if recovery and DENSE not in {*facet["method"]}:
            unsolved = recovery[0].removeprefix("linear").removeprefix("+") or "none"
            beside = (values["model"] == model) & (values["method"] == DENSE)
            facet = pd.concat([values[beside & (values["recovery"] == unsolved)], facet])
        found[", ".join([model, *map(recovery_label, recovery)])] = facet
    return {name: facet for name, facet in found.items() if {*facet["method"]} != {DENSE}} or found


def pruned(values: pd.DataFrame, looks: Mapping[str, Look]) -> list[str]:
    """Return the methods that prune, in their order."""
    return [method for method in looks if method != DENSE and method in set(values["method"])]


def ratios(values: pd.DataFrame) -> list[float]:
    """Return the ratios of pruned models, or of the dense model if nothing is pruned yet."""
    ratios = sorted(set(values["ratio"]))
    return [ratio for ratio in ratios if ratio > 0] or ratios


def focus(values: pd.DataFrame) -> float:
    """Return the ratio of pruned models that is nearest to `FOCUS`."""
    return min(ratios(values), key=lambda ratio: abs(ratio - FOCUS))


def percents(ratios: Sequence[float]) -> list[str]:
    """Return the names of ratios."""
    return [f"{100 * ratio:.3g}% removed" for ratio in ratios]


def of_one_ratio(values: pd.DataFrame) -> bool:
    """Tell whether methods have one ratio: then they stand one below the other, since no line leads anywhere."""
    return values.loc[values["method"] != DENSE, "ratio"].nunique() == 1


def best_first(values: pd.DataFrame, better: str) -> list[str]:
    """Return the methods that prune, the best first, by values of one metric."""
    shown = values[values["method"] != DENSE]
    return [*shown.sort_values(["value", "method"], ascending=[better != "higher", True])["method"]]


def spans_a_decade(values: pd.Series) -> bool:
    """Tell whether values are positive and differ so much that they need a logarithmic axis."""
    return bool(values.min() > 0 and values.max() > 10 * values.min())


def wide(values: pd.DataFrame, keys: Sequence[str]) -> dict[str, set[tuple]]:
    """Return, for each model, the outcomes (by `keys`) that need a logarithmic axis in all its facets."""
    found: dict[str, set[tuple]] = defaultdict(set)
    for (model, *place), part in values.groupby(["model", *keys])["value"]:
        if spans_a_decade(part):
            found[model].add(tuple(place))
    return found


def meaning(values: pd.DataFrame, units: str = "items") -> str:
    """Explain the error bars, if there are any."""
    over = f"draws and {units}" if spread(values) == "sd" else f"{units} of one draw"
    known = values["low"].notna()
    band = ", and the dense model's band" if (known & (values["method"] == DENSE)).any() else ""
    return f"Bars{band}: 95 % intervals over {over}" if known.any() else ""


def with_ratio(values: pd.DataFrame, text: str) -> str:
    """Begin a legend's title with the share that is removed, and the recovery, where no axis or facet has them."""
    removed = percents(ratios(values)) if of_one_ratio(values) else []
    recoveries = {*values.loc[values["method"] != DENSE, "recovery"]} if "recovery" in values else {"none"}
    after = [f"after {recovery_label(name)}" for name in recoveries - {"none"} if len(recoveries) == 1]
    return ". ".join(filter(None, [", ".join([*removed, *after]), text]))


def dodge(count: int, width: float) -> np.ndarray:
    """Return offsets that set `count` marks side by side within `width`, around 0."""
    return (np.arange(count) - (count - 1) / 2) * width / max(count, 1)


def against_ratio(
    values: pd.DataFrame,
    looks: Mapping[str, Look],
    title: str,
    *,
    order: Sequence[str] | None = None,
    printed: pd.DataFrame | None = None,
    logarithmic: bool = False,
) -> Chart:
    """Describe values against the ratio, with the dense model as a level.

    Args:
        values: `method`, `ratio`, `value`, and `low` and `high`, the ends of its interval.
        looks: the look of every method.
        title: of the values' axis.
        order: methods at a single ratio, a line each, the first on top; else they are spread at each ratio.
        printed: published values at these ratios.
        logarithmic: whether the axis is.
    """
    rows = values[["method", "ratio", "value", "low", "high"]].assign(published=False)
    if printed is not None and len(printed):
        rows = pd.concat(
            [rows, printed[["method", "ratio", "value"]].assign(published=True)], ignore_index=True
        )
    of_method = rows["method"].map
    value = Axis(title, log=10 * logarithmic)
    if order is not None:
        dense = rows.loc[rows["method"] == DENSE, "value"]
        middle = float(dense.iloc[0] if len(dense) else rows["value"].median())
        value = Axis(title, log=10 * logarithmic, ends=ends_if_far(rows, middle, logarithmic))
        place, names = (
            of_method({method: i for i, method in enumerate(order)}),
            [looks[name].label for name in order],
        )
        across = Axis()
    else:
        methods, removed = pruned(rows, looks), [100 * ratio for ratio in ratios(values)]
        gap = float(min(np.diff(removed), default=10))
        offsets = dodge(len(methods), min(0.6, 0.05 * len(methods)) * gap)
        place, names = 100 * rows["ratio"] + of_method(dict(zip(methods, offsets, strict=True))), []
        across = Axis(REMOVED, ticks=removed, ends=(removed[0] - 0.5 * gap, removed[-1] + 0.5 * gap))
    rows = rows.assign(place=place.astype(float)).rename(columns={"method": "group"})
    return Chart(rows, looks, value, across, names)


def row_of(
    parts: Mapping[Any, pd.DataFrame],
    labels: Mapping[Any, str],
    looks: Mapping[str, Look],
    better: Mapping[Any, str],
    wide: Collection[Any],
    single: bool,
) -> list[Chart | str]:
    """Describe a facet: a chart for each label, or that it was not measured.

    Args:
        parts: values of the facet by what was measured.
        labels: of what is shown; the first that has a method decides the method's line.
        looks: the look of every method.
        better: `higher` or `lower`.
        wide: what needs a logarithmic axis.
        single: whether methods have a line each.
    """
    order: dict[str, None] = {}
    for place in (place for place in labels if place in parts):
        order |= dict.fromkeys(best_first(parts[place], better[place]))
    names = [*order] if single else None
    return [
        against_ratio(parts[place], looks, label, order=names, logarithmic=place in wide)
        if place in parts
        else f"{label}\nnot measured"
        for place, label in labels.items()
    ]


def agreement_of_halves(marks: pd.DataFrame, looks: Mapping[str, Look]) -> Chart:
    """Describe the agreement of calibration halves of one model, a mean over seeds, by sequences."""
    marks = marks[marks["method"].isin([*looks])]
    means = marks.groupby(["method", "sequences"], as_index=False)["agreement"].mean()
    rows = means.rename(columns={"method": "group", "sequences": "place", "agreement": "value"})
    rows = rows.assign(low=np.nan, high=np.nan)
    return Chart(rows, looks, Axis("Agreement of halves"), Axis("Calibration sequences", log=2))


def with_shared_axes(charts: Sequence[_Panel], models: Sequence[str]) -> list[_Panel]:
    """Give the charts of a model one axis of values, so that its recoveries can be compared by eye.

    Charts with names have it across, others along their height: where a model has both, all keep their own.

    Args:
        charts: of one outcome, or a sentence where there is none; all of a model, or none, are logarithmic.
        models: of each.
    """
    groups: dict[str, list[Chart]] = {}
    for chart, model in zip(charts, models, strict=True):
        groups.setdefault(model, []).extend([chart] if isinstance(chart, Chart) else [])
    alike = {model: own for model, own in groups.items() if len({bool(chart.names) for chart in own}) == 1}
    ends = {model: _shared_ends(own) for model, own in alike.items() if len(own) > 1}
    return [
        cast(_Panel, replace(chart, value=replace(chart.value, ends=ends[model])))
        if isinstance(chart, Chart) and model in ends
        else chart
        for chart, model in zip(charts, models, strict=True)
    ]


def _shared_ends(charts: Sequence[Chart]) -> tuple[float, float]:
    """Return the ends of one axis for what each chart would show by itself."""
    found = []
    for chart in charts:
        levels = chart.rows.loc[chart.rows["place"].isna(), "value"]
        middle = float((levels if len(levels) else chart.rows["value"]).median())
        found.append(span(chart.rows, middle, chart.value.log > 0, bool(chart.names)))
    return min(low for low, _ in found), max(high for _, high in found)


def effects(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the effects of a column of the comparison as rows of a `Chart`, in the order there."""
    named = {column + end: name for end, name in zip(ENDS, ("value", "low", "high"), strict=True)}
    found = rows[["method"]].join(rows.reindex(columns=[*named]).rename(columns=named))
    return found.rename(columns={"method": "group"}).assign(place=np.arange(len(found), dtype=float))
