"""Quotients of two numbers measured independently, such as times, and of two effects on the same items."""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import brentq

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Draw, NotComparableError, Terms, contrast, paired

FARTHEST = 100.0  # the largest distance from the value at which an end of the interval is looked for


def quotient(
    left: Mapping[Draw | None, float], right: Mapping[Draw | None, float] | None, repeatable: bool
) -> Estimate:
    """Estimate the logarithm of the ratio of two numbers that were measured independently.

    The interval is Student's over draws, each measured by a process of its own, and needs `MIN_DRAWS` of them.
    Repeats in one process give no interval, since another process may find another ratio.

    Args:
        left: the numbers by draw, all positive.
        right: the divisors; None if `left` already is the ratio.
        repeatable: whether the numbers are exact, so that fewer draws have an interval of no length.

    Raises:
        NotComparableError: a number is zero or less, or the sides have different draws.
    """
    sides = [left] if right is None else [left, right]
    numbers = np.array([*paired(sides).values()])
    if (numbers <= 0).any():
        raise NotComparableError("a number is zero or less, so there is no ratio")
    logs = np.log(numbers[:, 0] / (1.0 if right is None else numbers[:, 1]))
    once = any(None in side for side in sides)
    draws = 0 if all(None in side for side in sides) else len(logs)
    ratio = Estimate(float(logs.mean()), n=0 if repeatable else len(logs), draws=draws)
    if repeatable and len(logs) < MIN_DRAWS:
        return ratio.within(0.0, np.inf)
    if len(logs) < MIN_DRAWS or (once and not repeatable):
        return ratio
    return ratio.within(float(logs.var(ddof=1)) / len(logs), len(logs) - 1)


def paired_quotient(numerator: Terms, denominator: Terms) -> tuple[float, float, float]:
    """Return one effect divided by another on the same draws and items, with the ends of its 95 % interval.

    The interval is Fieller's: it contains a quotient ρ where that of numerator - ρ·denominator contains 0. Both
    ends are NaN where the denominator is not itself significantly different from zero; all three numbers are NaN
    where it is zero.

    Source: Fieller, "Some Problems in Interval Estimation", 1954.

    Raises:
        NotComparableError: the sides were measured on different draws, tasks or items.
    """

    def less(times: float) -> Estimate:
        return estimate(contrast([*numerator, *((-times * weight, side) for weight, side in denominator)]))

    whole = estimate(contrast(denominator))
    if whole.value == 0:
        return np.nan, np.nan, np.nan
    value = estimate(contrast(numerator)).value / whole.value
    if not whole.low * whole.high > 0:
        return value, np.nan, np.nan
    down, up = (-1, 1) if whole.value > 0 else (1, -1)
    ends = _root(lambda x: less(x).low, value, down), _root(lambda x: less(x).high, value, up)
    return value, min(ends), max(ends)


def _root(end: Callable[[float], float], value: float, side: int) -> float:
    """Return where an end of the interval crosses 0, on one side (-1 or 1) of the value; NaN if nowhere near."""
    step = 0.1
    while not end(value + side * step) * end(value) < 0:
        step *= 2
        if step > FARTHEST:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))
