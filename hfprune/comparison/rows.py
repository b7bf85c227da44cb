"""A row of the comparison of a pruned model with its dense one: one measure, before and after."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd

from hfprune.results.effect import Effect
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import NotComparableError, Outcomes, contrast

# Formats of changes, as Python's `str.format` takes them.
SHARE = "{:+.1%}"


class Kind(StrEnum):
    """What a row is of."""

    TEXT = "text"
    LIMIT = "limit"
    """Text by which a limit of the user's is judged."""
    REPETITION = "repetition"
    STEREOTYPES = "stereotypes"
    CAPABILITY = "capability"
    TASK = "task"
    RECOVERY = "recovery"
    SIZE = "size"
    SPEED = "speed"


@dataclass(frozen=True)
class Row:
    """One number of the dense model and of the pruned one, after each step, and its change."""

    kind: Kind
    task: str
    """The text, capability or task that was measured; "" where there is none."""
    name: str
    before: float | None
    """Of the dense model; `None` where it has none, as for the distance to itself."""
    after: float
    """Of the model that is exported."""
    shown: str
    steps: Mapping[str, float | None] = field(default_factory=dict)
    """The number after each step that was taken, that of the export among them."""
    effect: Effect | None = None
    """The change: a share of `before` (0.5: half as much again) where logarithms are measured, or a difference."""
    n: int | None = None
    """Documents, questions, sequences or repeats; None for what is counted exactly."""
    found: Estimate | None = None
    """The change that the interval is of; of a ratio, its logarithm. None without an interval."""
    measure: str = ""
    """The measure that found it; "" for what is counted."""
    metric: str = ""
    """The metric of that measure."""

    @property
    def change(self) -> Effect:
        """The change; unknown where there is none."""
        return self.effect or Effect(math.nan)

    def words(self) -> list[str]:
        """Return the row as text: its name, the dense model's number, one of each step, n, and the change."""
        numbers = [self.before, *self.steps.values()]
        shown = ["" if number is None else self.shown.format(number) for number in numbers]
        return [self.name, *shown, str(self.n or ""), "" if self.effect is None else str(self.effect)]


def paired(tables: list[pd.DataFrame], column: str) -> Estimate | None:
    """Estimate the mean outcome, or its difference between two models in pairs.

    Args:
        tables: of one model or of two; outcomes by `item`, and by `document` and `source` where they have those.
        column: the outcome. Missing ones are left out.

    Returns:
        None if a table lacks the column, the items do not fit, or they are too few for an interval.
    """
    if not all(column in table for table in tables):
        return None
    try:
        sides = [_outcomes(table, column) for table in tables]
        found = estimate(contrast([*zip((1.0, -1.0), sides, strict=False)]))
    except NotComparableError:
        return None
    return found if found.known else None


def share(before: float, after: float, found: Estimate | None, better: int = 0) -> Effect:
    """Return the change as a share of `before`; the interval is of the difference of logarithms."""
    low, high = map(float, np.expm1(_ends(found)))
    return Effect(after / before - 1, low, high, form=SHARE, better=better)


def difference(
    change: float, found: Estimate | None, shown: str, *, scale: float = 1, better: int = 0
) -> Effect:
    """Return a change as a difference, shown like the number itself; `found` is in units of `scale`."""
    low, high = (scale * end for end in _ends(found))
    return Effect(change, low, high, form=re.sub(r"\{:,?", "{:+,", shown), better=better)


def _ends(found: Estimate | None) -> tuple[float, float]:
    return (found.low, found.high) if found else (math.nan, math.nan)


def _outcomes(items: pd.DataFrame, column: str) -> Outcomes:
    tasks = items["source"] if "source" in items else np.zeros(len(items))
    index = [name for name in ("document", "item") if name in items]
    return {
        None: {
            str(task): rows.set_index(index)[column].dropna().sort_index()
            for task, rows in items.groupby(tasks)
        }
    }
