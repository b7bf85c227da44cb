"""What another run of a study may change in its tables, as `docs/results.md` states it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hfprune.checking.by_key import EQUAL, Compared, Limit, number
from hfprune.provenance import CODE
from hfprune.results.declarations import Declarations

# Columns of any table that follow from outcomes, beside `value`: numbers, and words with numbers.
FOLLOWING = (
    *("stderr", "sd", "low", "high", "base", "p", "holm", "detectable", "needs", "note"),
    *("draws_sd", "resamples_sd", "again", "share", "balanced"),
    *("overlap", "rank_correlation", "near_cut"),
)
# These differ from each other where they are near zero, and have a common rounding.
SIDES = ["value", "low", "high", "base"]
# The parts of a record that describe the machine, and the run.
OF_MACHINE = ("packages", "hardware")
OF_RUN = (
    *("commit", "version", "started", *OF_MACHINE, "cost"),
    # The hash of the code of a criterion or a measure changes with a comment; its results are compared.
    *(f"inputs.{role}" for role in CODE),
    *("settings.batch_tokens", "settings.scoring.batch_tokens", "more.batch_tokens_that_fitted"),
)
# The inputs that a run makes itself, by which a cell's model is another one; and another such, of every model.
MADE_INPUTS = [f"inputs.{name}" for name in ("plan", "resampled", "linear", "adapter")]
HASHES = (*MADE_INPUTS, "inputs.scores")
CELL = ["model", "method", "calibration", "sequences", "ratio", "recovery"]
# A time or memory is positive, and on another machine less than so many times as large or as small.
MOST_TIMES = 1000.0
_OF_VALUE = 0.01  # the error of a value without a standard error, relative to the value


@dataclass(frozen=True)
class Allowed:
    """The limits of each table's columns.

    `moved` are the cells, by `CELL`, with a different plan or adapter, or measured with different packages or on a
    different machine. Their values must lie within the intervals; those of all others must be equal up to
    rounding. `elsewhere` are those of them with different packages or on a different machine, where scores may be
    another file. `changed` are the models of which any item is not equal.
    """

    declared: Declarations
    moved: Collection[tuple[str, ...]] = ()
    elsewhere: Collection[tuple[str, ...]] = ()
    changed: Collection[str] = ()

    def after(self, items: Compared) -> "Allowed":
        """Return the limits of the other tables, given the items, which tell which models have changed."""
        unequal = items.old[(items.kinds != EQUAL) & ~self._once(items.old)]
        return replace(self, changed={*unequal["model"]})

    def in_items(self, old: pd.DataFrame, new: pd.DataFrame) -> Mapping[str, Limit]:
        """Return the limits of outcomes, whose size is at least the mean outcome of the cell and task."""
        once = self._once(old)
        cells = [old[name] for name in [*CELL, "measure", "task"]]
        numbers = {name: number(old[name]) for name in old}
        return {
            name: Limit(
                size=values.abs().groupby(cells).transform("mean"),
                left_out=(once | self._moved(old)) & values.notna(),
                least=np.where(once, _least(values), np.nan),
                most=values.where(once & (values > 0), np.inf) * MOST_TIMES,
            )
            for name, values in numbers.items()
            if values.notna().any()
        }

    def in_values(self, old: pd.DataFrame, new: pd.DataFrame) -> Mapping[str, Limit]:
        """Return the limits of values and of the columns that follow from them."""
        once, moved = self._once(old), self._moved(old)
        size = size_of_sides(old)
        # A time, its error and the quotient of two times are not negative; the low end of an interval may be.
        positive = np.where(once, 0.0, np.nan)
        limits = {
            name: Limit(
                size if name in SIDES else 0.0,
                left_out=once | moved,
                least=np.nan if name == "low" else positive,
            )
            for name in FOLLOWING
            if name in old
        }
        if "verdict" in old:  # it follows from values that may be others
            limits["verdict"] = Limit(left_out=once | moved)
        if "value" not in old:
            return limits
        value, low, high = (number(old[name]) for name in SIDES[:3])
        if "stderr" in old:
            half = 2 * number(old["stderr"]).fillna(_OF_VALUE * value.abs())
            low, high = low.fillna(value - half), high.fillna(value + half)
        left_out, timed = once | (moved & low.isna()), once & (value > 0)
        least, most = np.where(once, _least(value), -np.inf), value.where(timed, np.inf)
        limit = Limit(size, low.where(moved), high.where(moved), left_out, least, most * MOST_TIMES)
        return limits | {"value": limit}

    def in_records(self, old: pd.DataFrame, new: pd.DataFrame) -> Mapping[str, Limit]:
        """Return the limits of settings, inputs and curves; numbers that describe the run are not negative."""
        changed, moved = old["model"].isin(self.changed), self._moved(old)
        elsewhere = _among(old, CELL, {*self.elsewhere})
        limits = {}
        for name in old:
            part = name.partition(".")[0]
            if part in OF_RUN or name in OF_RUN:
                least = np.where(number(new[name]).notna(), 0.0, np.nan)
                limits[name] = Limit(left_out=True, least=least)
            elif name in HASHES:
                limits[name] = Limit(left_out=changed | elsewhere)
            elif part in ("curve", "more"):
                limits[name] = Limit(left_out=moved)
        return limits

    def _once(self, rows: pd.DataFrame) -> pd.Series:
        """Tell which rows are of times or memory. A claim names no measure, and an item is of all its metrics."""
        names = [name for name in ("measure", "metric") if name in rows]
        once = [row for row in self.declared if not row.metric.repeatable]
        values = [{"measure": row.measure, "metric": row.metric.name} for row in once]
        return _among(rows, names, {tuple(value[name] for name in names) for value in values} - {()})

    def _moved(self, rows: pd.DataFrame) -> pd.Series:
        """Tell which rows are of a moved cell or, in a table that compares cells, of a model with such a cell."""
        names = CELL if {"draw", "measure"} <= {*rows} else CELL[:1]
        return _among(rows, names, {cell[: len(names)] for cell in self.moved})


def _least(times: pd.Series) -> np.ndarray:
    """Return the smallest number that another machine may have in place of each time or memory; of zero, zero."""
    return np.where(times > 0, np.nextafter(times / MOST_TIMES, np.inf), 0.0)


def size_of_sides(rows: pd.DataFrame) -> pd.Series:
    """Return for each row the largest absolute value of the columns `SIDES`, which have a common rounding."""
    sides = {name: number(rows[name]).abs() for name in SIDES if name in rows}
    return pd.DataFrame(sides, rows.index).max(axis=1)


def moved(records: Compared) -> set[tuple[str, ...]]:
    """Return the cells whose records have a different plan, adapter, packages or machine."""
    made = [name for name in records.outside if name in MADE_INPUTS]
    return _cells_with(records, made) | elsewhere(records)


def elsewhere(records: Compared) -> set[tuple[str, ...]]:
    """Return the cells whose records have different packages or a different machine."""
    return _cells_with(records, [name for name in records.outside if name.partition(".")[0] in OF_MACHINE])


def _cells_with(records: Compared, others: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the cells whose records differ in any of these columns."""
    differing = records.outside[[*others]].any(axis=1)
    return {*records.old.loc[differing[differing].index, CELL].itertuples(index=False, name=None)}


def _among(rows: pd.DataFrame, names: Sequence[str], some: Collection[tuple[str, ...]]) -> pd.Series:
    """Tell which rows have one of these combinations in these columns."""
    pairs = zip(*(rows[name] for name in names), strict=True) if names else [()] * len(rows)
    return pd.Series([pair in some for pair in pairs], rows.index, dtype=bool)
