"""Ratios of bare numbers, such as times and sizes, that were measured independently."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hfprune.analysis.outcomes import Draw, NotComparableError, paired
from hfprune.analysis.statistics import MIN_DRAWS, Estimate


class Number(NamedTuple):
    """A bare number, such as a time: its value, positive, and its standard error over repeats in one process."""

    value: float
    stderr: float = np.nan


def ratio(
    left: Mapping[Draw | None, Number], right: Mapping[Draw | None, Number], repeatable: bool
) -> Estimate:
    """Estimate the logarithm of the ratio of two numbers that were measured independently.

    The interval is Student's t over seeds, each of which a process of its own measured, from `MIN_DRAWS` of them.
    Repeats in one process give none: another process may find another ratio. A repeatable number is exact, and so
    is one without an error that no draw changes.

    Args:
        left: the number by draw.
        right: the divisor.
        repeatable: whether another run would give the same number.

    Raises:
        NotComparableError: the sides have different seeds, or a number is not positive.
    """
    pairs = [*paired([left, right]).values()]
    if any(number.value <= 0 for pair in pairs for number in pair):
        raise NotComparableError("a number is zero or less, so there is no ratio")
    logs = np.array([np.log(a.value / b.value) for a, b in pairs])
    once = any(side[None].stderr != 0 for side in (left, right) if None in side)
    draws = 0 if None in left and None in right else len(logs)
    found = Estimate(float(logs.mean()), n=0 if repeatable else len(logs), draws=draws)
    if repeatable and len(logs) < MIN_DRAWS:
        return found.within(0.0, np.inf)
    if len(logs) < MIN_DRAWS or (once and not repeatable):
        return found
    return found.within(float(logs.var(ddof=1)) / len(logs), len(logs) - 1)
