"""The ends of 95 % intervals."""

import numpy as np
import pandas as pd

from hfprune.analysis.averages import half_width


def interval(summary: pd.DataFrame, logarithmic: bool) -> tuple[pd.Series, pd.Series]:
    """Return the ends of the 95 % intervals of rows of `hfprune.analysis.averages.over_seeds`.

    `logarithmic` is for positive values whose errors multiply, such as perplexities: the interval is symmetric in
    the logarithm (delta method: the logarithm's standard error is stderr / value), so that it never reaches zero.
    """
    half = pd.Series(half_width(summary.assign(n=summary["n"].astype(float))), summary.index)
    if not logarithmic:
        return summary["value"] - half, summary["value"] + half
    factor = np.exp(half / summary["value"])
    return summary["value"] / factor, summary["value"] * factor
