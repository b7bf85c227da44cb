"""The effects of a comparison as readers see them: heading, format, and which side is better."""

from typing import NamedTuple

import pandas as pd

from hfprune.analysis.declarations import Declaration, Declarations

# Places of a method beside its reference, by the interval of their difference.
STANDINGS = BETTER, ALIKE, WORSE = "better", "not told apart", "worse"


class Effect(NamedTuple):
    heading: str
    shown: str
    neutral: float | None
    better: int
    """1 if higher values are better, -1 if lower ones are, 0 if neither."""


def effects_shown(declared: Declarations) -> dict[str, Effect]:
    return {column: _shown(column, row) for column, row in declared.effects().items()}


def _shown(column: str, row: Declaration) -> Effect:
    metric = row.metric
    better = {"higher": 1, "lower": -1}.get(metric.better, 0)
    of = f", {row.measure}" if column.startswith(f"{row.measure}.") else ""
    if metric.effect == "ratio":
        return Effect(f"{metric.label} ratio{of}", "{:,.2f}", 1, better)
    # An abbreviation keeps its first capital.
    label = metric.label[:1].lower() + metric.label[1:] if metric.label[1:2].islower() else metric.label
    unit = "points" if metric.unit == "%" else metric.unit
    heading = f"Δ {label}{of}" + (f" ({unit})" if unit else "")
    return Effect(heading, metric.shown.replace("{:", "{:+", 1), 0, better)


def standing(effect: Effect | None, low: float, high: float) -> str:
    if effect is None or not effect.better or pd.isna(low) or pd.isna(high):
        return ""
    ends = [effect.better * (end - (effect.neutral or 0)) for end in (low, high)]
    return BETTER if min(ends) > 0 else WORSE if max(ends) < 0 else ALIKE
