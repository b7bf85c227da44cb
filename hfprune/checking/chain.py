"""Whether a folder's own files agree: each is made again from the files from which it follows, on any machine."""

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

# How far numbers computed again from the same numbers may be apart, relative to their size: means of items, and
# numbers that depend on a library's quantiles and roots, in files that keep `DIGITS` digits.
OF_MEANS, OF_REST = 1e-9, 1e-6
# The units of medians over rounds; speed-ups are ratios of two medians, and memory may be a maximum.
UNITS_OF_TIME = ("s", "ms", "tokens/s")


Analyse = Callable[[Evidence, Paper], Mapping[str, pd.DataFrame]]


def broken_links(folder: Path, analyse: Analyse) -> Iterator[str]:
    """Yield a line for each row that does not follow from the folder's own files; only of the first broken link.

    Values follow from items, and their levels from values; the tables that `analyse` returns by file follow from
    both.
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
    """Return results.csv with means and medians of items computed again, and all levels."""
    data = Results(folder)
    values = data.tidy[[*KEY, "value", "stderr", "n"]].copy()
    for declared in data.declared:
        here = values[(values["measure"] == declared.measure) & (values["metric"] == declared.metric.name)]
        items = data.items(declared.measure)
        if here.empty or items.empty:
            continue
        by = [*CELL_COLUMNS[1:], "task"]
        remade = _from_items(items[items["resample"] == 0], by, declared.metric)
        aligned = here[by].merge(remade.rename("remade"), "left", left_on=by, right_index=True)
        values.loc[here.index, "value"] = aligned["remade"].fillna(here["value"])
    return {RESULTS: named(values, data.study, data.declared)}


def _from_items(items: pd.DataFrame, by: list[str], metric: Metric) -> pd.Series:
    """Return a metric by cell and task; empty if it is no mean or median of a column of its items."""
    # Items of scoring have no ratio, so that the column is left out.
    groups = items.reindex(columns=[*dict.fromkeys([*by, *items])]).groupby(by, dropna=False)
    column = next((name for name in metric.items or (metric.name,) if name in items), None)
    if metric.items and column and metric.effect == "ratio":
        return np.exp(groups[column].mean())
    if metric.items and column == metric.name:
        return groups[column].mean()
    if column and metric.unit in UNITS_OF_TIME:
        return groups[column].median()
    return pd.Series(dtype=float, index=groups.size().index[:0])


def _differing(folder: Path, remade: Mapping[str, pd.DataFrame], sources: str, remedy: str) -> Iterator[str]:
    """Yield each row of these files that differs from the remade one."""
    with TemporaryDirectory() as temporary:
        for name, rows in remade.items():
            write_csv(rows, Path(temporary, name), None if name == RESULTS else DIGITS)
            again = read_flat(Path(temporary, name))
            for line in by_key(read_flat(folder / name), again, NAMES, _up_to_rounding).described():
                yield f"{name}, made again from {sources}: {line}; {remedy}"


def _up_to_rounding(old: pd.DataFrame, new: pd.DataFrame) -> Mapping[str, Limit]:
    """Return the limits of numbers computed again; only the value of a single draw is a mean of items."""
    size = size_of_sides(old)
    measured = old["draw"].ne("") if {"draw", "measure"} <= {*old} else False
    rounding = np.where(measured, OF_MEANS, OF_REST)
    return {name: Limit(size if name in SIDES else 0.0, rounding=rounding) for name in old}
