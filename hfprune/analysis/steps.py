"""What was measured of a model after a step, and the rows that compare it with its dense model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.rounding import rounded_interval

PRUNED, RECONSTRUCTED, RECOVERED = "pruned", "reconstructed", "recovered"
CAPABILITY, TASKS, SPEED = "Bits per byte of right answers", "Tasks", "Speed"
# Before the name of a measure that reads the user's own text.
OWN = "own_"
PERPLEXITY, REPEATED = "perplexity on ", "repeated 4-grams"


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    before: float | None
    """Of the dense model; `None` where it has none, as for the distance to itself."""
    after: float
    """Of the model that is exported."""
    shown: str
    steps: Mapping[str, float | None] = field(default_factory=dict)
    """The number after each step that was taken, that of the export among them."""
    change: float | None = None
    """A share of `before` (0.5: half as much again), or without one or with `absolute` a difference from it."""
    low: float | None = None
    """The ends of its 95 % interval, in pairs on the same documents; None if it is not known."""
    high: float | None = None
    absolute: bool = False
    n: int | None = None
    """Documents, questions, sequences or repeats; None for what is counted exactly."""
    found: Estimate | None = None
    """The change that the interval is of; of a ratio, its logarithm."""

    def said(self) -> str:
        if self.change is None:
            return ""
        form = re.sub(r"\{:,?", "{:+,", self.shown) if self.absolute else "{:+.1%}"
        if self.low is None or self.high is None:
            return form.format(self.change)
        change, *ends = rounded_interval(form, self.change, self.low, self.high, neutral=0)
        return f"{change} [{', '.join(ends)}]"

    def words(self) -> list[str]:
        numbers = [self.before, *self.steps.values()]
        shown = ["" if number is None else self.shown.format(number) for number in numbers]
        return [self.name, *shown, str(self.n or ""), self.said()]


class Side(NamedTuple):
    """What one measure found of one model."""

    values: dict[str, float]
    n: int
    items: pd.DataFrame
    made: dict[str, Any]
    """Provenance."""


# Step, or `DENSE` → measure and task → what was found.
Sides = dict[str, dict[tuple[str, str], Side]]


def step_of(recovery: str) -> str:
    return RECOVERED if "lora" in recovery else RECONSTRUCTED if "linear" in recovery else PRUNED


def spelt(task: str) -> str:
    """Return the name of a text as the user knows it: a file is kept under its hash, too."""
    return re.sub(r"-[0-9a-f]{12}$", "", task)


def paired(items: list[pd.DataFrame], column: str) -> Estimate | None:
    """Return the mean outcome, or its difference between two models in pairs; None if they do not fit."""
    if not all(column in one for one in items):
        return None
    try:
        found = estimate(
            contrast([*zip((1.0, -1.0), (_outcomes(one, column) for one in items), strict=False)])
        )
    except NotComparableError:
        return None
    return found if found.known else None


def with_interval(row: Row, found: Estimate | None, scale: float = 1) -> Row:
    """Return a row with the ends of its change, which the outcomes of items have in units of `scale`."""
    if row.change is None or found is None:
        return row
    ends = np.array([found.low, found.high])
    low, high = ends * scale if row.absolute else np.expm1(ends)
    return replace(row, low=float(low), high=float(high), found=found)


def _outcomes(items: pd.DataFrame, column: str) -> Outcomes:
    tasks = items["source"] if "source" in items else np.zeros(len(items))
    index = [name for name in ("document", "item") if name in items]
    return {
        None: {
            str(task): rows.set_index(index)[column].dropna().sort_index()
            for task, rows in items.groupby(tasks)
        }
    }
