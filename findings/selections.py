"""Selections that stand in the text by themselves, as words: a source, and values of its rows in any order.

`{table7-before 20% js_distance entropy against cross_entropy}` is a row of the study `table7-before`; the
source may be a joint analysis or a claim, too. `20%` is a ratio, `64` a number of sequences; any other word
is a value of a column, with small letters and `-` for blanks, such as `qwen-1.5b`, `lora`, `wikipedia` or
`step-16`. What is not said is as in `numbers.yaml`: the question is `reference`, there is no task, and of any
other column all values are meant. Words after `against` are of the other side; where the table has the sides
in the other order, they are turned. `{table7-before/draws.again 20% js_distance entropy}` is a number that is
no effect: the mean of a column of `draws.csv` or `answers.csv`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from findings.sources import Selection
from hfprune.effects.questions import REFERENCE
from hfprune.errors import HfpruneError, nearest
from hfprune.results.effect_rows import EffectRow

AGAINST = "against"
Value = str | float | None  # of a column
# What a word may be, in the order in which it is looked up, with the columns that have such values.
OWN = {name: [name] for name in ("question", "model", "ratio", "outcome", "sequences", "calibration", "task")}
OWN |= {"method": ["method", "against"], "recovery": ["recovery", "against_recovery"]}
OTHER = {"against": OWN["method"], "against_recovery": OWN["recovery"]} | OWN
TURNED = {"method": "against", "recovery": "against_recovery"}
TURNED |= {other: own for own, other in TURNED.items()}
# The columns whose values tell rows apart.
TELLING = ["model", "ratio", "sequences", "calibration", "outcome", "task", "method", "recovery"]


def word(column: str, value: Value) -> str:
    """Return a value of a column as the text has it; "" for none."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{100 * value:g}%" if column == "ratio" else str(value).lower().replace(" ", "-")


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


def selection(words: Sequence[str], rows: pd.DataFrame, kind: str, source: str) -> Selection:
    """Return the selection that words make among the effects of a source.

    Args:
        words: those after the source.
        rows: its effects; of a claim, their models and ratios.
        kind: `study`, `joint` or `claim`.
        source: its name.

    Raises:
        HfpruneError: a word is unknown, or no row is all that the words say.
    """
    given = values(words, rows, source)
    swapped = {TURNED.get(column, column): wanted for column, wanted in given.items()}
    turned = not _fits(given, rows) and _fits(swapped, rows)
    if not turned and not _fits(given, rows):
        said = " ".join(words)
        questions = [name for name in _questions(rows) if _fits(given | {"question": [name]}, rows)]
        add = f"; add the question {' or '.join(questions)}" if questions and "question" not in given else ""
        raise HfpruneError(f"no row of {source} is {said!r}{add}")
    return Selection.model_validate(
        {kind: source} | (swapped if turned else given) | ({"turned": True} if turned else {})
    )


def _questions(rows: pd.DataFrame) -> list[str]:
    return rows["question"].unique().tolist() if "question" in rows else []


def _fits(given: Mapping[str, Sequence[Value]], rows: pd.DataFrame) -> bool:
    """Tell whether rows have the given values, each value at least one of them."""
    unsaid: dict[str, Sequence[Value]] = {"question": [REFERENCE], "task": [""]}
    asked = {name: wanted for name, wanted in unsaid.items() if name in rows} | {**given}
    for column, wanted in asked.items():
        rows = rows[rows[column].isin(wanted)]
    return all({*wanted} <= {*rows[column]} for column, wanted in asked.items())


def remedy(rows: Sequence[EffectRow]) -> str:
    """Return the words of which one a column would tell rows apart."""
    lines = []
    for column in (*TELLING, "against", "against_recovery"):
        differing = dict.fromkeys(word(column, getattr(row, column)) for row in rows)
        if len(differing) > 1:
            before = f"{AGAINST} " if column.startswith(AGAINST) else ""
            lines.append(" or ".join(before + said for said in differing if said))
    return f"; add {', and '.join(lines)}" if lines else ""
