"""The values of a study's measures, and the names that readers see."""

from collections.abc import Iterable, Iterator

import pandas as pd

from hfprune.analysis.averages import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    mean_over_tasks,
    with_averages,
)
from hfprune.analysis.declarations import Declaration, Declarations

MEAN = "mean"  # takes the place of a task if there are several


def all_values(tidy: pd.DataFrame, declared: Declarations, measures: Iterable[str]) -> pd.DataFrame:
    """Return the rows of the tidy table of some measures, and their means over tasks.

    A zero-shot task has only its primary metric, under the name of the measure's declared primary metric.
    """
    parts = [tidy[:0]]
    for measure in measures:
        rows = tidy[tidy["measure"] == measure]
        if rows.empty:
            continue
        parts += [rows] if declared.kind(measure) != "zeroshot" else []
        if declared.kind(measure) == "zeroshot":
            primary = next(row.metric.name for row in declared.primary() if row.measure == measure)
            scores = with_averages(rows, measure)
            parts.append(scores.assign(metric=primary, task=scores["task"].replace(AVERAGE, MEAN)))
        elif rows["task"].nunique() > 1:
            means = ((name, mean_over_tasks(group)) for name, group in rows.groupby("metric"))
            parts += [mean.assign(metric=name, task=MEAN) for name, mean in means]
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def measures_in_order(tidy: pd.DataFrame, declared: Declarations) -> list[str]:
    """Return the measures of the tidy table: the declared ones first, then the others by name."""
    return [*dict.fromkeys([*declared.kinds, *sorted(set(tidy["measure"]))])]


def other_values(tidy: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return `all_values` of the measures that no table of the paper shows."""
    shown = declared.of_paper()
    others = [measure for measure in measures_in_order(tidy, declared) if measure not in shown]
    values = all_values(tidy, declared, others)
    return values[values["task"] != AVERAGE_WITHOUT_CROWS].reset_index(drop=True)


def headings(values: pd.DataFrame, declared: Declarations) -> dict[tuple[str, str, str], str]:
    """Return the name of every measure, metric and task of some values, in the order of the declarations.

    A name has a measure or task only if there are several to distinguish.
    """
    places = [*values[["measure", "metric", "task"]].drop_duplicates().itertuples(index=False, name=None)]
    order = [(row.measure, row.metric.name) for row in declared]
    rank = {pair: i for i, pair in enumerate(order)}
    places.sort(key=lambda place: (rank.get(place[:2], len(rank)), place[2] == MEAN, place[2]))
    found = {place: declared.find(*place[:2]) for place in places}
    return {place: ", ".join(_parts(place, row, found)) + _unit(row) for place, row in found.items()}


def _parts(
    place: tuple[str, str, str], row: Declaration, found: dict[tuple[str, str, str], Declaration]
) -> Iterator[str]:
    measure, metric, task = place
    yield row.metric.label
    alike = {other[:2] for other, one in found.items() if one.metric.label == row.metric.label}
    if len({of for of, _ in alike}) > 1:
        yield measure.replace("_", " ")
    if len({name for of, name in alike if of == measure}) > 1:
        yield metric.replace("_", " ")
    if len([other for other in found if other[:2] == (measure, metric)]) > 1:
        yield task


def _unit(row: Declaration) -> str:
    return f" ({row.metric.unit})" if row.metric.unit else ""


def dotted(place: Iterable[str]) -> str:
    """Return a measure, a metric and a task, if there is one, as one name for programs."""
    return ".".join(filter(None, place))


def scaled(values: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return values in the units shown to readers."""
    pairs = zip(values["measure"], values["metric"], strict=True)
    scale = pd.Series([declared.find(*pair).metric.scale for pair in pairs], values.index, dtype=float)
    return values.assign(value=values["value"] * scale, stderr=values["stderr"] * scale)
