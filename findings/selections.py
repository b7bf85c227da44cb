"""Selections of rows in words, in the text and beside it: a source, and values of its rows in any order.

`{table7-before 20% js_distance entropy against cross_entropy}` is a row of the study `table7-before`; the
source may be a joint analysis or a claim, too. `20%` is a ratio, `all-ratios` none, `64` a number of
sequences; any other word is a value of a column, with small letters and `-` for blanks, such as `qwen-1.5b`,
`lora`, `wikipedia` or `step-16`. Where none is said, the question is `reference`, the task none, and of any
other column all values are meant. Words after `against` are of the other side; where the table has the sides
in the other order, they are turned. `{table7-before/draws.again 20% js_distance entropy}` is a number that is
no effect: the mean of a column of `draws.csv` or `answers.csv`.
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
# The columns whose values tell rows apart.
TELLING = ["model", "ratio", "sequences", "calibration", "outcome", "task", "method", "recovery"]


def word(column: str, value: Value) -> str:
    """Return a value of a column as the text has it; "" for none, but of the ratio."""
    if value is None or value == "" or value != value:
        return "all-ratios" if column == "ratio" else ""
    return f"{100 * float(value):g}%" if column == "ratio" else str(value).lower().replace(" ", "-")


def values(words: Iterable[str], rows: pd.DataFrame, source: str) -> dict[str, list[Value]]:
    """Return the values that words name, by column.

    Raises:
        HfpruneError: a word is no value of any row.
    """
    given: dict[str, list[Value]] = {}
    known = _vocabulary(rows, OWN)
    for said in words:
        if said == AGAINST:
            known = _vocabulary(rows, OTHER)
        elif said in known:
            column, value = known[said]
            given.setdefault(column, []).append(value)
        else:
            raise HfpruneError(f"no row of {source} is {said!r}{nearest(said, sorted(known))}")
    return given


def _vocabulary(rows: pd.DataFrame, meanings: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, Value]]:
    known: dict[str, tuple[str, Value]] = {}
    for meaning, columns in meanings.items():
        for column in rows.columns.intersection(columns):
            for value in rows[column].unique().tolist():
                known.setdefault(word(column, value), (meaning, value))
    known.pop("", None)
    return known


def chosen(words: Sequence[str], rows: pd.DataFrame, source: str) -> tuple[pd.DataFrame, bool]:
    """Return the rows of a source that words select, and whether their sides are to be turned.

    Raises:
        HfpruneError: a word is unknown, or no row is all that the words say.
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
    """Return the rows that have given values; none where one of these is of none of them."""
    part, given = rows, {name: wanted for name, wanted in given.items() if name in rows}
    for column, wanted in given.items():
        part = part[part[column].isin(wanted)]
    used = all(part[column].isin([value]).any() for column, wanted in given.items() for value in wanted)
    return part if used else part[:0]


def remedy(rows: Sequence[EffectRow]) -> str:
    """Return the words of which one a column would tell rows apart."""
    lines = []
    for column in (*TELLING, "against", "against_recovery"):
        differing = dict.fromkeys(word(column, getattr(row, column)) for row in rows)
        if len(differing) > 1:
            before = f"{AGAINST} " if column.startswith(AGAINST) else ""
            lines.append(" or ".join(before + said for said in differing if said))
    return f"; add {', and '.join(lines)}" if lines else ""
