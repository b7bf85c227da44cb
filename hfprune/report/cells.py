"""The texts of a table's cells, made from its numbers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import pandas as pd

from hfprune.report.style import Look, method_label
from hfprune.report.typeset import MISSING, Column
from hfprune.rounding import rounded

PAPER, OURS = "paper", "ours"  # the sources of numbers
Forms = str | Sequence[str]
"""The format of all values, as `str.format` takes it, or one for each."""


def texts(
    values: Iterable[float], form: Forms, scale: float = 1, doubts: Iterable[float | None] = cycle([None])
) -> list[str]:
    """Return each value as text, rounded to its doubt where it has one, or a dash where there is no value."""
    triples = zip(values, cycle([form] if isinstance(form, str) else form), doubts, strict=False)
    return [
        MISSING if pd.isna(value) else rounded(each, scale * value, doubt) for value, each, doubt in triples
    ]


def with_errors(values: pd.Series, errors: pd.Series, form: Forms) -> list[str]:
    """Return each value as text, with `±` and its error where it has one."""
    pairs = zip(*(texts(numbers, form, doubts=errors) for numbers in (values, errors)), strict=True)
    return [text if MISSING in (text, error) else f"{text} ± {error}" for text, error in pairs]


def intervals(low: pd.Series, high: pd.Series, form: Forms, between: str = "[{}, {}]") -> list[str]:
    """Return each interval as text, or a dash where there is none."""
    pairs = zip(*(texts(end, form, doubts=(high - low) / 2) for end in (low, high)), strict=True)
    return [MISSING if MISSING in pair else between.format(*pair) for pair in pairs]


def with_intervals(values: pd.Series, low: pd.Series, high: pd.Series, form: Forms) -> list[str]:
    """Return each value as text, with its interval in brackets where it has one."""
    pairs = zip(texts(values, form, doubts=(high - low) / 2), intervals(low, high, form), strict=True)
    return [text if MISSING in (text, interval) else f"{text} {interval}" for text, interval in pairs]


def counts(values: Iterable[float]) -> list[str]:
    """Return each count as text, or a dash where it is zero."""
    return [f"{count:,.0f}" if count else MISSING for count in values]


def words(values: Iterable[str]) -> list[str]:
    """Return texts that were read from a CSV, where an empty one is missing."""
    return ["" if pd.isna(value) else str(value) for value in values]


def ratio_column(rows: pd.DataFrame) -> Column:
    """Return the column of the ratio, in per cent."""
    return Column("Ratio", texts(rows["ratio"], "{:.3g}%", 100), words=True)


def head_columns(rows: pd.DataFrame, looks: Mapping[str, Look]) -> list[Column]:
    """Return the columns of the ratio, and of the method with its recovery if the rows name one."""
    recoveries = rows["recovery"] if "recovery" in rows else ["none"] * len(rows)
    pairs = zip(rows["method"], recoveries, strict=True)
    methods = [method_label(looks[method], recovery) for method, recovery in pairs]
    return [ratio_column(rows), Column("Method", methods, words=True)]


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

    return rows.sort_values([*by], key=rank, ignore_index=True)


def present(columns: Iterable[Column]) -> list[Column]:
    """Return the columns that have a text in any row."""
    return [column for column in columns if {*column.cells} != {MISSING}]
