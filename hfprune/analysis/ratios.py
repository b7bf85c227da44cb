"""Ratios of bare numbers, such as times and sizes, that were measured independently."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

import numpy as np

from hfprune.analysis.outcomes import Draw, NotComparableError, paired
from hfprune.analysis.statistics import MIN_DRAWS, Estimate, satterthwaite


class Number(NamedTuple):
    """A bare number, such as a time: its value, positive, its standard error, and the repeats behind it."""

    value: float
    stderr: float = np.nan
    n: float = 1


def ratio(
    left: Mapping[Draw | None, Number], right: Mapping[Draw | None, Number], repeatable: bool
) -> Estimate:
    """Estimate the logarithm of the ratio of two numbers that were measured independently.

    The interval is Student's t. The variance is that over seeds, from `MIN_DRAWS` of them, and else that over
    repeats by the standard errors, with Welch's degrees of freedom. A side that no draw changes adds its own. A
    number without a standard error has no interval, unless it is repeatable: then it is exact.

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
    variances: list[float] = []
    freedoms: list[float] = []
    for side in (left, right) if not repeatable else ():
        numbers = [*side.values()]
        if None in side or len(logs) < MIN_DRAWS:
            # Of one measured repeat the spread is unknown, and so are the ends of the interval.
            variances.append(fmean((x.stderr / x.value) ** 2 for x in numbers) / len(numbers))
            freedoms.append(sum(max(x.n - 1, 1) for x in numbers))
    if len(logs) >= MIN_DRAWS:
        variances.append(float(logs.var(ddof=1)) / len(logs))
        freedoms.append(len(logs) - 1)
    draws = 0 if None in left and None in right else len(logs)
    freedom = float(satterthwaite(variances, freedoms)) if variances else np.inf
    return Estimate(float(logs.mean()), draws=draws).within(sum(variances), freedom)
