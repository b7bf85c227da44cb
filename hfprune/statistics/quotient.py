"""Quotients of two numbers measured independently, such as times, and of two effects on the same items."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import brentq

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Draw, NotComparableError, Outcomes, contrast, paired

FARTHEST = 100.0  # from the value, where an end of the interval is looked for

Terms = Sequence[tuple[float, Outcomes]]
"""An effect as a weighted sum of the outcomes of several sides."""


def quotient(
    left: Mapping[Draw | None, float], right: Mapping[Draw | None, float] | None, repeatable: bool
) -> Estimate:
    """Estimate the logarithm of the ratio of two numbers that were measured independently.

    The interval is Student's t over draws, each of which a process of its own measured, from `MIN_DRAWS` of them.
    Repeats in one process give none: another process may find another ratio. A repeatable number is exact.

    Args:
        right: the divisor; None if `left` already is the ratio.
    """
    sides = [left] if right is None else [left, right]
    numbers = np.array([*paired(sides).values()])
    if (numbers <= 0).any():
        raise NotComparableError("a number is zero or less, so there is no ratio")
    logs = np.log(numbers[:, 0] / (1.0 if right is None else numbers[:, 1]))
    once = any(None in side for side in sides)
    draws = 0 if all(None in side for side in sides) else len(logs)
    found = Estimate(float(logs.mean()), n=0 if repeatable else len(logs), draws=draws)
    if repeatable and len(logs) < MIN_DRAWS:
        return found.within(0.0, np.inf)
    if len(logs) < MIN_DRAWS or (once and not repeatable):
        return found
    return found.within(float(logs.var(ddof=1)) / len(logs), len(logs) - 1)


def paired_quotient(numerator: Terms, denominator: Terms) -> tuple[float, float, float]:
    """Return one effect per another on the same draws and items, with the ends of its 95 % interval (Fieller's).

    A quotient ρ is within the interval where that of numerator - ρ·denominator holds 0. Both ends are NaN where
    the denominator is not itself significantly different from zero, and all three where it is zero.

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
    """Return where an end of the interval crosses 0, at one side of the value."""
    step = 0.1
    while not end(value + side * step) * end(value) < 0:
        step *= 2
        if step > FARTHEST:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))
