"""Ratios of bare numbers, such as times and sizes, that were measured independently."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hfprune.analysis.statistics import LEVEL, Draw, Estimate, paired, satterthwaite


class Number(NamedTuple):
    """A bare number, such as a time: its value, positive, its standard error, and the repeats behind it."""

    value: float
    stderr: float = np.nan
    n: float = 1


def ratio(
    left: Mapping[Draw | None, Number], right: Mapping[Draw | None, Number], repeatable: bool
) -> Estimate:
    """Estimate the logarithm of the ratio of two numbers that were measured independently.

    The interval is Student's t over seeds if there are several, else over repeats, by the two standard errors
    and Welch's degrees of freedom. One seed without standard errors has no interval, unless the number is
    repeatable: then it is exact.

    Args:
        left: the number by draw.
        right: the divisor.
        repeatable: whether another run would give the same number.

    Raises:
        NotComparableError: the sides have different seeds.
    """
    from scipy.stats import t

    pairs = [*paired([left, right]).values()]
    logs = np.array([np.log(a.value / b.value) for a, b in pairs])
    value, freedom = float(logs.mean()), np.inf
    if len(logs) > 1:
        stderr, freedom = float(logs.std(ddof=1) / np.sqrt(len(logs))), len(logs) - 1
    elif repeatable:
        stderr = 0.0
    else:
        parts = np.array([(side.stderr / side.value) ** 2 for side in pairs[0]])
        stderr = float(np.sqrt(parts.sum()))
        # One measured repeat has no spread, so the interval has no ends.
        freedom = satterthwaite(parts, [max(side.n - 1, 1) for side in pairs[0]]) if stderr > 0 else np.inf
    half = float(t.ppf((1 + LEVEL) / 2, freedom) * stderr) if stderr else 0.0
    draws = 0 if None in left and None in right else len(logs)
    return Estimate(value, value - half, value + half, 0, draws, 0, stderr, freedom)
