"""p-values: Holm's correction for many comparisons, and McNemar's test of right and wrong answers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method (1979); a missing one stays missing."""
    values = pd.Series(np.asarray(p_values, float))
    known = values.sort_values(kind="stable").dropna()
    adjusted = (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(values.index).tolist()


def mcnemar(left: np.ndarray, right: np.ndarray) -> tuple[int, int, float]:
    """Test whether two methods, right (1) or wrong (0) on the same items, are right equally often.

    Returns:
        The number of items that only the left one has right, the number that only the right one has right, and
        the exact two-sided p-value.
    """
    from scipy.stats import binomtest

    left_only, right_only = int((left > right).sum()), int((right > left).sum())
    if left_only + right_only == 0:
        return 0, 0, 1.0
    return left_only, right_only, float(binomtest(left_only, left_only + right_only).pvalue)
