"""p-values: Holm's correction for many comparisons."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method (1979); a missing one stays missing."""
    values = pd.Series(np.asarray(p_values, float))
    known = values.sort_values(kind="stable").dropna()
    adjusted = (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(values.index).tolist()
