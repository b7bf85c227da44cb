"""The values of a study's measures, and the names that readers see."""

from collections.abc import Iterable, Iterator

import pandas as pd

from hfprune.results.averages import AVERAGE, AVERAGE_WITHOUT_CROWS, MARGIN, MEAN, primary_values
from hfprune.results.declarations import Declaration, Declarations


def all_values(levels: pd.DataFrame, declared: Declarations, measures: Iterable[str]) -> pd.DataFrame:
    """Return the levels of some measures.

    A zero-shot task has its margin, if measured, and its primary accuracy, under the name `average`. Of
    averages there are the paper's, under the task `mean`, and that without CrowS-Pairs.
    """
    parts = [levels[:0]]
    for measure in measures:
        rows = levels[levels["measure"] == measure]
        if declared.kind(measure) == "zeroshot" and len(rows):
            margins = rows[rows["metric"] == MARGIN]
            averages = rows[rows["task"].isin([AVERAGE, AVERAGE_WITHOUT_CROWS])]
            scores = pd.concat([primary_values(rows, measure), averages])
            scores = scores.assign(metric=AVERAGE, task=scores["task"].replace(AVERAGE, MEAN))
            rows = pd.concat([margins, scores]) if len(margins) else scores
        parts.append(rows)
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def measures_in_order(levels: pd.DataFrame, declared: Declarations) -> list[str]:
    """Return the measures in the order of the declarations, then the undeclared ones by name."""
    return [*dict.fromkeys([*declared.kinds, *sorted(set(levels["measure"]))])]


def other_values(levels: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return `all_values` of measures outside the paper's tables, without the averages that lack CrowS."""
    shown = declared.in_paper()
    others = [measure for measure in measures_in_order(levels, declared) if measure not in shown]
    values = all_values(levels, declared, others)
    return values[values["task"] != AVERAGE_WITHOUT_CROWS].reset_index(drop=True)


def headings(values: pd.DataFrame, declared: Declarations) -> dict[tuple[str, str, str], str]:
    """Return the name of every measure, metric and task of some values, in the order of the declarations.

    A name includes the measure or task only where there are several.
    """
    places = [*values[["measure", "metric", "task"]].drop_duplicates().itertuples(index=False, name=None)]
    order = [(row.measure, row.metric.name) for row in declared]
    rank = {pair: i for i, pair in enumerate(order)}
    places.sort(key=lambda place: (rank.get(place[:2], len(rank)), place[2] == MEAN, place[2]))
    rows = {place: declared.find(*place[:2]) for place in places}
    units = {place: f" ({row.metric.unit})" if row.metric.unit else "" for place, row in rows.items()}
    return {place: ", ".join(_parts(place, row, rows)) + units[place] for place, row in rows.items()}


def _parts(
    place: tuple[str, str, str], row: Declaration, rows: dict[tuple[str, str, str], Declaration]
) -> Iterator[str]:
    measure, metric, task = place
    yield row.metric.label
    namesakes = {key[:2] for key, other in rows.items() if other.metric.label == row.metric.label}
    if len({owner for owner, _ in namesakes}) > 1:
        yield measure.replace("_", " ")
    if len({name for owner, name in namesakes if owner == measure}) > 1:
        yield metric.replace("_", " ")
    if len([other for other in rows if other[:2] == (measure, metric)]) > 1:
        yield task


def dotted(place: Iterable[str]) -> str:
    """Return measure, metric and task joined by dots into a key, without empty ones."""
    return ".".join(filter(None, place))


def scaled(levels: pd.DataFrame) -> pd.DataFrame:
    """Return levels in the units shown to readers."""
    numbers = ["value", "stderr", "sd", "low", "high"]
    return levels.assign(**{name: levels[name] * levels["scale"] for name in numbers})
