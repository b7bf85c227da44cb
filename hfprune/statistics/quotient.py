"""The quotient of two numbers that were measured independently, such as times."""

from collections.abc import Mapping

import numpy as np

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.statistics.estimates import Estimate
from hfprune.statistics.outcomes import Draw, NotComparableError, paired


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
