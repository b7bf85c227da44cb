"""Two tables by key: which rows are equal, equal but for rounding, within a limit, outside, missing or added."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# The outcomes of a row, which has the last of those of its columns.
KINDS = EQUAL, ROUNDED, INSIDE, LEFT_OUT, OUTSIDE, MISSING, ADDED = (
    *("equal", "within rounding", "within the interval", "not compared"),
    *("outside", "missing", "added"),
)
# What float32 sums in another order may change, relative to the size of a number.
ROUNDING = 1e-4
# Numbers this near are equal but for rounding whatever their size, since sums that should be zero are not quite.
TINY = 1e-9
# The end of the second table's names where both are one, and the number of a row among those with its key.
_MADE, _NTH = "\0made", "\0nth"
_LONGEST = 60


class Limit(NamedTuple):
    """What the second table may hold in a column, for each row or for all.

    A number is equal but for rounding up to `rounding` times `size` from that of the first table, and within the
    interval from `low` to `high`. What is `left_out` is not compared. But where the first table has a number,
    the second must have one of at least `least` and at most `most`, unless `least` is NaN.
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
    """Two tables with the same rows, of which one may have only the key."""

    kept: pd.DataFrame
    made: pd.DataFrame
    key: Sequence[str]
    found: pd.Series
    """One of `KINDS` for each row."""
    outside: pd.DataFrame
    """By row and column, what is beyond its limit."""
    left_out: Mapping[str, pd.Series]
    """Which rows of a column were not compared; only columns with such rows."""

    @property
    def failed(self) -> pd.Index:
        """Return the rows that are outside, missing or added."""
        return self.found.index[self.found.isin([OUTSIDE, MISSING, ADDED])]

    def described(self) -> Iterator[str]:
        """Yield each row that failed, by its key, and what is beyond the limits."""
        for at in self.failed:
            said, where = self.found[at], ", ".join(filter(None, self.kept.loc[at, [*self.key]]))
            if said == OUTSIDE:
                said = ", ".join(
                    f"{name} {_shown(self.kept.at[at, name])} → {_shown(self.made.at[at, name])}"
                    for name in self.outside.columns[self.outside.loc[at]]
                )
            yield f"{where}: {said}" if where else said


Limits = Callable[[pd.DataFrame, pd.DataFrame], Mapping[str, Limit]]


def number(column: pd.Series) -> pd.Series:
    """Return a column's numbers, and NaN for all else."""
    return pd.to_numeric(column, errors="coerce").astype(float)


def by_key(
    kept: pd.DataFrame, made: pd.DataFrame, names: Sequence[str], limits: Limits = lambda *_: {}
) -> Compared:
    """Compare two tables; a row that stands more often in one of them is missing or added as often.

    Args:
        kept: the first table.
        made: the second. A column that only one of them has is empty in the other.
        names: those that are columns make the key.
        limits: from both tables with the same rows to the limits of columns; a number of another column may
            differ by rounding.
    """
    whole = [*dict.fromkeys([*kept, *made])]
    key = [name for name in names if name in whole]
    columns = [name for name in whole if name not in key]
    sides = [_keyed(table.reindex(columns=[*key, *columns]), key) for table in (kept, made)]
    both = sides[0].merge(sides[1], "outer", [*key, _NTH], suffixes=("", _MADE), indicator=True)
    old = both[[*key, *columns]]
    new = both[[*key, *(name + _MADE for name in columns)]].set_axis([*old], axis=1)
    given = {name: limit for name, limit in limits(old, new).items() if name in columns}
    codes = {name: _codes(old[name], new[name], given.get(name, Limit())) for name in columns}
    every = pd.DataFrame(codes, both.index, dtype=int)
    found = every.max(axis=1).fillna(0).map(dict(enumerate(KINDS)))
    found = found.mask(both["_merge"] == "left_only", MISSING).mask(both["_merge"] == "right_only", ADDED)
    left_out = {name: limit.left_out & pd.Series(True, both.index) for name, limit in given.items()}
    left_out = {name: rows for name, rows in left_out.items() if rows.any()}
    return Compared(old, new, key, found, every == KINDS.index(OUTSIDE), left_out)


def _keyed(table: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Return a table with None for nothing, a key of texts that are the same for the same numbers, and `_NTH`."""
    rows = table.astype(object)
    rows = rows.where(rows.notna() & rows.ne(""), None)
    for name in key:
        numbers = number(rows[name])
        rows[name] = rows[name].fillna("").astype(str).mask(numbers.notna(), numbers.map("{:.12g}".format))
    nth = rows.groupby([*key]).cumcount() if key else pd.Series(range(len(rows)), rows.index)
    return pd.concat([rows, nth.rename(_NTH)], axis=1).copy()  # a copy is in one piece


def _codes(old: pd.Series, new: pd.Series, limit: Limit) -> np.ndarray:
    """Return the places in `KINDS` of one column's values. Whole numbers are counted, and have no rounding."""
    before, after = number(old), number(new)
    gap = (after - before).abs()
    rounding = limit.rounding * np.fmax(before.abs(), limit.size) * (before % 1 != 0)
    least = pd.Series(limit.least, old.index)
    possible = (after >= least) & (after <= limit.most) & np.isfinite(after)
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
