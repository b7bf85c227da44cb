"""Whether a folder's own files agree: each is made again from those that it follows from, on any machine."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from hfprune.cells import CELL_COLUMNS, KEY
from hfprune.checking.allowed import SIDES, size_of_sides
from hfprune.checking.by_key import Limit, by_key
from hfprune.checking.flat import NAMES, read_flat
from hfprune.errors import HfpruneError
from hfprune.measurement import Metric
from hfprune.paper.relations import Paper
from hfprune.results.evidence import Evidence
from hfprune.results.files import DIGITS, ITEMS, RESULTS, write_csv
from hfprune.results.gathering import named
from hfprune.results.reader import Results

# How far numbers made again from the same numbers may be apart, relative to their size: means of items, and what
# quantiles and roots of another library follow, in files that keep `DIGITS` digits.
OF_MEANS, OF_REST = 1e-9, 1e-6
# The units of medians over rounds. Speed-ups are ratios of two of these, and memory may be a maximum.
TIMES = ("s", "ms", "tokens/s")


Analyse = Callable[[Evidence, Paper], Mapping[str, pd.DataFrame]]


def broken_links(folder: Path, analyse: Analyse) -> Iterator[str]:
    """Yield a line for each row that does not follow from the folder's own files, of the first link with any.

    Values follow from items, and their levels from values; what `analyse` makes, by file, follows from both.
    """
    try:
        broken = [*_differing(folder, _values(folder), ITEMS, "run `hfprune collect` again, or the study")]
        if not broken:
            evidence = Evidence(folder)
            tables = analyse(evidence, evidence.results.printed)
            kept = {name: rows for name, rows in tables.items() if (folder / name).exists()}
            sources = f"{RESULTS} and {ITEMS}"
            broken = [*_differing(folder, kept, sources, "run `hfprune effects` again")]
    except HfpruneError as error:
        broken = [str(error)]
    yield from broken


def _values(folder: Path) -> dict[str, pd.DataFrame]:
    """Return results.csv with each value that is a mean or median of items made of these, and all levels."""
    data = Results(folder)
    values = data.tidy[[*KEY, "value", "stderr", "n"]].copy()
    for declared in data.declared:
        here = values[(values["measure"] == declared.measure) & (values["metric"] == declared.metric.name)]
        items = data.items(declared.measure)
        if here.empty or items.empty:
            continue
        by = [*CELL_COLUMNS[1:], "task"]
        made = _of_items(items[items["resample"] == 0], by, declared.metric)
        found = here[by].merge(made.rename("made"), "left", left_on=by, right_index=True)["made"]
        values.loc[here.index, "value"] = found.fillna(here["value"])
    return {RESULTS: named(values, data.study, data.declared)}


def _of_items(items: pd.DataFrame, by: list[str], metric: Metric) -> pd.Series:
    """Return a metric by cell and task; empty where it is no mean or median of a column of its items."""
    # Items of scoring have no ratio, so that the column is left out.
    groups = items.reindex(columns=[*dict.fromkeys([*by, *items])]).groupby(by, dropna=False)
    column = next((name for name in metric.items or (metric.name,) if name in items), None)
    if metric.items and column and metric.effect == "ratio":
        return np.exp(groups[column].mean())
    if metric.items and column == metric.name:
        return groups[column].mean()
    if column and metric.unit in TIMES:
        return groups[column].median()
    return pd.Series(dtype=float, index=groups.size().index[:0])


def _differing(folder: Path, made: Mapping[str, pd.DataFrame], sources: str, remedy: str) -> Iterator[str]:
    """Yield each row of these files that is not as it is made again."""
    with TemporaryDirectory() as temporary:
        for name, rows in made.items():
            write_csv(rows, Path(temporary, name), None if name == RESULTS else DIGITS)
            again = read_flat(Path(temporary, name))
            for line in by_key(read_flat(folder / name), again, NAMES, _up_to_rounding).described():
                yield f"{name}, made again from {sources}: {line}; {remedy}"


def _up_to_rounding(rows: pd.DataFrame, made: pd.DataFrame) -> Mapping[str, Limit]:
    """Return limits of the same numbers for all columns; only the value of a single draw is a mean of items."""
    size = size_of_sides(rows)
    measured = rows["draw"].ne("") if {"draw", "measure"} <= {*rows} else False
    rounding = np.where(measured, OF_MEANS, OF_REST)
    return {name: Limit(size if name in SIDES else 0.0, rounding=rounding) for name in rows}
