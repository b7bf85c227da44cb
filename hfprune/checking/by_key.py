"""Two tables by key: which rows are equal, equal up to rounding, within a limit, outside, missing or added."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# The kinds of a comparison; a row is of the last kind that one of its columns has.
KINDS = EQUAL, ROUNDED, INSIDE, LEFT_OUT, OUTSIDE, MISSING, ADDED = (
    *("equal", "within rounding", "within the interval", "not compared"),
    *("outside", "missing", "added"),
)
# The change of float32 sums in another order, relative to the size of a number.
ROUNDING = 1e-4
# Numbers this close are equal up to rounding whatever their size, since sums that should be zero are not quite.
TINY = 1e-9
# The end of the second table's names where both are merged, and the number of a row among those with its key.
_NEW, _NTH = "\0new", "\0nth"
_LONGEST = 60


class Limit(NamedTuple):
    """What the second table may hold in a column, for each row or for all.

    A number is equal up to rounding if it differs from the first table's by at most `rounding` times `size`, and
    within the interval if it lies between `low` and `high`. Rows that are `left_out` are not compared, except that
    where the first table has a number, the second must have one from `least` up to, but not equal to, `most`;
    unless `least` is NaN.
    """

    size: pd.Series | float = 0.0
    low: pd.Series | float = np.nan
    high: pd.Series | float = np.nan
    left_out: pd.Series | bool = False
    least: np.ndarray | float = np.nan
    most: pd.Series | float = np.inf
    rounding: np.ndarray | float = ROUNDING


@dataclass(frozen=True)
class Compared:
    """Two tables with the same rows; a row that one of them lacks has only its key there."""

    old: pd.DataFrame
    new: pd.DataFrame
    key: Sequence[str]
    kinds: pd.Series
    """One of `KINDS` for each row."""
    outside: pd.DataFrame
    """By row and column, whether the value is beyond its limit."""
    left_out: Mapping[str, pd.Series]
    """By column with such rows, which rows were not compared."""

    @property
    def failed(self) -> pd.Index:
        """Return the rows that are outside, missing or added."""
        return self.kinds.index[self.kinds.isin([OUTSIDE, MISSING, ADDED])]

    def described(self) -> Iterator[str]:
        """Yield a line for each row that failed: its key, and the values beyond the limits or the kind."""
        for at in self.failed:
            text, where = self.kinds[at], ", ".join(filter(None, self.old.loc[at, [*self.key]]))
            if text == OUTSIDE:
                text = ", ".join(
                    f"{name} {_shown(self.old.at[at, name])} → {_shown(self.new.at[at, name])}"
                    for name in self.outside.columns[self.outside.loc[at]]
                )
            yield f"{where}: {text}" if where else text


Limits = Callable[[pd.DataFrame, pd.DataFrame], Mapping[str, Limit]]


def number(column: pd.Series) -> pd.Series:
    """Return a column's numbers, with NaN for anything else."""
    return pd.to_numeric(column, errors="coerce").astype(float)


def by_key(
    first: pd.DataFrame, second: pd.DataFrame, names: Sequence[str], limits: Limits = lambda *_: {}
) -> Compared:
    """Compare two tables; a row that one of them has more often is missing or added that many times.

    A column that only one of them has counts as empty in the other.

    Args:
        first: the table to compare with.
        second: the table to check.
        names: columns of the key; those that no table has are ignored.
        limits: returns the limits of columns, given both tables with the same rows; a number of a column without
            a limit may differ by rounding.
    """
    whole = [*dict.fromkeys([*first, *second])]
    key = [name for name in names if name in whole]
    columns = [name for name in whole if name not in key]
    sides = [_keyed(table.reindex(columns=[*key, *columns]), key) for table in (first, second)]
    merged = sides[0].merge(sides[1], "outer", [*key, _NTH], suffixes=("", _NEW), indicator=True)
    old = merged[[*key, *columns]]
    new = merged[[*key, *(name + _NEW for name in columns)]].set_axis([*old], axis=1)
    given = {name: limit for name, limit in limits(old, new).items() if name in columns}
    codes = {name: _codes(old[name], new[name], given.get(name, Limit())) for name in columns}
    cell_kinds = pd.DataFrame(codes, merged.index, dtype=int)
    kinds = cell_kinds.max(axis=1).fillna(0).map(dict(enumerate(KINDS)))
    kinds = kinds.mask(merged["_merge"] == "left_only", MISSING).mask(merged["_merge"] == "right_only", ADDED)
    left_out = {name: limit.left_out & pd.Series(True, merged.index) for name, limit in given.items()}
    left_out = {name: rows for name, rows in left_out.items() if rows.any()}
    return Compared(old, new, key, kinds, cell_kinds == KINDS.index(OUTSIDE), left_out)


def _keyed(table: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Return a table with None for empty cells, keys as texts that are equal for equal numbers, and `_NTH`."""
    rows = table.astype(object)
    rows = rows.where(rows.notna() & rows.ne(""), None)
    for name in key:
        numbers = number(rows[name])
        rows[name] = rows[name].fillna("").astype(str).mask(numbers.notna(), numbers.map("{:.12g}".format))
    nth = rows.groupby([*key]).cumcount() if key else pd.Series(range(len(rows)), rows.index)
    return pd.concat([rows, nth.rename(_NTH)], axis=1).copy()  # a copy is in one piece


def _codes(old: pd.Series, new: pd.Series, limit: Limit) -> np.ndarray:
    """Return the places in `KINDS` of one column's values; whole numbers are counts and have no rounding."""
    before, after = number(old), number(new)
    gap = (after - before).abs()
    rounding = limit.rounding * np.fmax(before.abs(), limit.size) * (before % 1 != 0)
    least = pd.Series(limit.least, old.index)
    possible = (after >= least) & (after < limit.most) & np.isfinite(after)
    tests = {
        OUTSIDE: least.notna() & before.notna() & ~possible,
        EQUAL: old.eq(new) | (old.isna() & new.isna()) | gap.eq(0),
        ROUNDED: gap <= np.maximum(rounding, TINY),
        INSIDE: after.between(limit.low, limit.high),
        LEFT_OUT: limit.left_out & pd.Series(True, old.index),
    }
    return np.select([*tests.values()], [KINDS.index(kind) for kind in tests], KINDS.index(OUTSIDE))


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "nothing"
    text = f"{value:.8g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
