"""The ends of 95 % intervals."""

import numpy as np
import pandas as pd

from hfprune.analysis.averages import half_width


def interval(summary: pd.DataFrame, logarithmic: bool) -> tuple[pd.Series, pd.Series]:
    """Return the ends of the 95 % intervals of rows of `hfprune.analysis.averages.over_seeds`; see `ends`."""
    half = pd.Series(half_width(summary.assign(n=summary["n"].astype(float))), summary.index)
    return ends(summary["value"], half, logarithmic)


def ends(value: pd.Series, half: pd.Series, logarithmic: bool) -> tuple[pd.Series, pd.Series]:
    """Return the ends of intervals of a half width.

    `logarithmic` is for positive values whose errors multiply, such as perplexities: the interval is symmetric in
    the logarithm (delta method: the logarithm's standard error is stderr / value), so that it never reaches zero.
    """
    if not logarithmic:
        return value - half, value + half
    factor = np.exp(half / value)
    return value / factor, value * factor
