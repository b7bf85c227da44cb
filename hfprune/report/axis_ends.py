"""Ends of an axis of values, and the numbers beyond them."""

from typing import Any

import numpy as np
import pandas as pd

LONG = 1e5  # from here on, a number at the edge of an axis is a power of ten
POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def span(
    rows: pd.DataFrame, neutral: float, logarithmic: bool | None = None, near: bool = True
) -> tuple[float, float]:
    """Return the ends of an axis for all intervals but those of values so far that they would hide the rest.

    Args:
        rows: `value`, `low` and `high`.
        neutral: the value in the middle; of effects that between better and worse.
        logarithmic: whether the axis is; by default that of ratios, whose middle is 1.
        near: whether values may be left out.
    """
    by_logarithms = neutral == 1 if logarithmic is None else logarithmic
    change: Any = np.log if by_logarithms else np.asarray
    back: Any = np.exp if by_logarithms else np.asarray
    found = rows[["value", "low", "high"]].astype(float).dropna(subset="value")
    found = (found.transform(change) - change(neutral)).sort_values("value", key=abs)
    distance, reach = found["value"].abs(), found.abs().max(axis=1)
    # Such a value lies beyond all intervals that are nearer and a margin, and its own interval reaches 2.5 times
    # as far; and it is far not only beside some that hardly differ.
    known = reach.cummax().shift(fill_value=np.inf)
    far = ((distance > 1.2 * known) & (reach > 2.5 * known) & (distance > 4 * distance.median())).cummax()
    kept = found[~far] if near else found
    low, high = min(kept.min(axis=None), 0), max(kept.max(axis=None), 0)
    margin = 0.06 * (high - low) or 0.1
    low, high = (float(back(change(neutral) + end)) for end in (low - margin, high + margin))
    return low, high


def ends_if_far(rows: pd.DataFrame, middle: float, logarithmic: bool) -> tuple[float, float] | None:
    """Return the ends of an axis of values of which some are too far to be drawn, or None."""
    low, high = span(rows, middle, logarithmic)
    return (low, high) if ((rows["value"] < low) | (rows["value"] > high)).any() else None


def at_edge(value: float, edge: float) -> str:
    """Return a number beyond the edge of an axis, with an arrow to its side."""
    digits, _, power = f"{value:.1e}".partition("e")
    number = f"{float(f'{value:.2g}'):,g}"
    if abs(value) >= LONG:
        number = f"{digits}·10{str(int(power)).translate(POWERS)}"
    return f"{number} →" if value > edge else f"← {number}"
