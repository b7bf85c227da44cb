"""Selections of rows in words, in the text and beside it: a source, and values of its rows in any order.

`{dose smollm2 64 js_distance entropy against cross_entropy}` is a row of the study `dose`; the source may be
a claim, too. `20%` is a ratio, `all-ratios` no ratio, `64` a number of sequences; any other word
is a value of a column, in lower case and with `-` for blanks, such as `qwen`, `lora`, `wikipedia` or
`step-16`; `task=code` says which column is meant where two have that value. By default, the question is
`reference`, the task none, and any other column has all of its values.
Words after `against` describe the other side; if the table has the sides in the other order, they are turned.
`{dose/draws.draws_sd smollm2 64 js_distance cross_entropy against entropy}` is a number that is no effect:
the mean of a column of `draws.csv` or `answers.csv`.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from hfprune.effects.questions import REFERENCE
from hfprune.errors import HfpruneError, nearest
from hfprune.results.effect_rows import EffectRow

AGAINST = "against"
Value = str | float | None  # of a column
# What a word may be, in the order in which it is looked up, with the columns that have such values.
OWN = {
    **{name: [name] for name in ("question", "model", "ratio")},
    **{"method": ["method", "against"], "recovery": ["recovery", "against_recovery"]},
    **{name: [name] for name in ("outcome", "sequences", "calibration", "task")},
}
OTHER = {"against": OWN["method"], "against_recovery": OWN["recovery"]} | OWN
TURNED = {"method": "against", "recovery": "against_recovery"}
TURNED |= {other: own for own, other in TURNED.items()}
# The columns whose values distinguish rows.
TELLING = ["model", "ratio", "sequences", "calibration", "outcome", "task", "method", "recovery"]


def word(column: str, value: Value) -> str:
    """Return the word for a value of a column; "" for none, except that no ratio is `all-ratios`."""
    if value is None or value == "" or value != value:
        return "all-ratios" if column == "ratio" else ""
    return f"{100 * float(value):g}%" if column == "ratio" else str(value).lower().replace(" ", "-")


def values(words: Iterable[str], rows: pd.DataFrame, source: str) -> dict[str, list[Value]]:
    """Return the values that words name, by column.

    Raises:
        HfpruneError: a word is a value of no row.
    """
    given: dict[str, list[Value]] = {}
    vocabulary = _vocabulary(rows, OWN)
    for name in words:
        if name == AGAINST:
            vocabulary = _vocabulary(rows, OTHER)
        elif name in vocabulary:
            column, value = vocabulary[name]
            given.setdefault(column, []).append(value)
        else:
            known = sorted(other for other in vocabulary if "=" not in other)
            raise HfpruneError(f"no row of {source} is {name!r}{nearest(name, known)}")
    return given


def _vocabulary(rows: pd.DataFrame, meanings: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Value]]:
    vocabulary: dict[str, tuple[str, Value]] = {}
    for meaning, columns in meanings.items():
        for column in rows.columns.intersection(columns):
            for value in rows[column].unique().tolist():
                name = word(column, value)
                vocabulary.setdefault(name, (meaning, value))
                vocabulary.setdefault(f"{meaning}={name}", (meaning, value))
    vocabulary.pop("", None)
    return vocabulary


def chosen(words: Sequence[str], rows: pd.DataFrame, source: str) -> tuple[pd.DataFrame, bool]:
    """Return the rows of a source that words select, and whether their sides are to be turned.

    Raises:
        HfpruneError: a word is unknown, or no row has all values that the words name.
    """
    given = {"question": [REFERENCE], "task": [""]} | values(words, rows, source)
    swapped = {TURNED.get(column, column): wanted for column, wanted in given.items()}
    for asked, turned in ((given, False), (swapped, True)):
        if len(part := _having(asked, rows)):
            return part, turned
    questions = dict.fromkeys(rows.get("question", []))
    others = [name for name in questions if len(_having(given | {"question": [name]}, rows))]
    add = f"; add the question {' or '.join(others)}" if others else ""
    raise HfpruneError(f"no row of {source} is {' '.join(words)!r}{add}")


def _having(given: Mapping[str, Sequence[Value]], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have the given values; no rows if one of the values is unused."""
    part, given = rows, {name: wanted for name, wanted in given.items() if name in rows}
    for column, wanted in given.items():
        part = part[part[column].isin(wanted)]
    used = all(part[column].isin([value]).any() for column, wanted in given.items() for value in wanted)
    return part if used else part[:0]


def remedy(rows: Sequence[EffectRow]) -> str:
    """Return, for an error, the words of each column that would distinguish the rows."""
    lines = []
    for column in (*TELLING, "against", "against_recovery"):
        differing = dict.fromkeys(word(column, getattr(row, column)) for row in rows)
        if len(differing) > 1:
            before = f"{AGAINST} " if column.startswith(AGAINST) else ""
            lines.append(" or ".join(before + name for name in differing if name))
    return f"; add {', and '.join(lines)}" if lines else ""
