"""The texts of a table's cells, made from its numbers."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from hfprune.report.style import Look, method_label
from hfprune.report.typeset import MISSING, Column
from hfprune.rounding import percent, rounded, rounded_interval

PAPER, OURS = "paper", "ours"  # the sources of numbers


def texts(values: Iterable[float], form: str, scale: float = 1) -> list[str]:
    """Return numbers, times `scale`, as text; a missing one is `MISSING`."""
    return [MISSING if pd.isna(value) else form.format(scale * value) for value in values]


def with_errors(values: pd.Series, errors: pd.Series, form: str) -> list[str]:
    """Return values as text, each with ± and its error where there is one, rounded to the error."""
    return [
        MISSING
        if pd.isna(value)
        else " ± ".join(rounded(form, x, error) for x in (value, error) if not pd.isna(x))
        for value, error in zip(values, errors, strict=True)
    ]


def with_intervals(
    values: pd.Series, low: pd.Series, high: pd.Series, form: str
) -> tuple[list[str], list[str]]:
    """Return differences and their 95 % intervals as text, by `rounded_interval`; missing ones are `MISSING`."""
    shown, intervals = [], []
    for value, start, end in zip(values, low, high, strict=True):
        text, *ends = rounded_interval(form, value, start, end, neutral=0)
        shown.append(MISSING if pd.isna(value) else text)
        intervals.append(MISSING if pd.isna([value, start, end]).any() else " to ".join(ends))
    return shown, intervals


def counts(values: Iterable[float]) -> list[str]:
    """Return whole numbers as text, with commas between thousands; zero is `MISSING`."""
    return [f"{count:,.0f}" if count else MISSING for count in values]


def words(values: Iterable[str]) -> list[str]:
    """Return texts that were read from a CSV, with "" for a missing one."""
    return ["" if pd.isna(value) else str(value) for value in values]


def ratio_column(rows: pd.DataFrame) -> Column:
    """Return the column of the ratios in percent; a row without a ratio has `MISSING`."""
    return Column("Ratio", [percent(ratio) or MISSING for ratio in rows["ratio"]], words=True)


def head_columns(rows: pd.DataFrame, looks: Mapping[str, Look]) -> list[Column]:
    """Return the columns that come first in a table: ratio, calibration if there are several, and method."""
    recoveries = rows["recovery"] if "recovery" in rows else ["none"] * len(rows)
    pairs = zip(rows["method"], recoveries, strict=True)
    methods = [method_label(looks[method], recovery) for method, recovery in pairs]
    return [ratio_column(rows), *calibration_columns(rows), Column("Method", methods, words=True)]


def calibration_columns(rows: pd.DataFrame) -> list[Column]:
    """Return the column of calibrations, or no column where the rows have only one."""
    named = [text or MISSING for text in words(rows["calibrated"])] if "calibrated" in rows else []
    return [Column("Calibration", named, words=True)] if {*named} - {MISSING} else []


def differences(rows: pd.DataFrame, looks: Mapping[str, Look]) -> list[str]:
    """Return the methods of rows, each less the method that it is `against`, if any."""
    names = zip(rows["method"], words(rows["against"]), strict=True)
    pairs = [filter(None, pair) for pair in names]
    return [" − ".join(looks[name].label for name in pair) for pair in pairs]


def in_order(
    rows: pd.DataFrame, by: Sequence[str], looks: Mapping[str, Look], models: Sequence[str] = ()
) -> pd.DataFrame:
    """Return rows sorted by some columns: `models` first, then others by name, methods in the order of `looks`.

    No recovery comes before others, and the paper before ours.
    """
    order = {"model": [*models], "recovery": ["none"], "method": [*looks], "source": [PAPER]}

    def rank(column: pd.Series) -> pd.Series:
        first = order.get(str(column.name))
        if first is None:
            return column
        return column.map(lambda name: (first.index(name) if name in first else len(first), name))

    return rows.sort_values([*by], key=rank, kind="stable", ignore_index=True)


def present(columns: Iterable[Column]) -> list[Column]:
    """Return the columns without those whose every cell is `MISSING`."""
    return [column for column in columns if {*column.cells} != {MISSING}]
