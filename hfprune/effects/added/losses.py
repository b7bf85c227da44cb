"""Losses relative to entropy's: how much of what pruning by entropy adds to log perplexity another plan adds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import product

import numpy as np
from scipy.optimize import brentq

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import DENSE_SIDE, ComparedBy, Comparison, comparisons
from hfprune.effects.questions import Side
from hfprune.results.effect_rows import BOTH, EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import NotComparableError, Outcomes, contrast
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import PAPERS

FARTHEST = 100.0  # from the value, where an end of the interval is looked for


class Losses(AddedEffects):
    """The added log perplexity of one side per that of the other."""

    question = "loss"
    form = "{:.2f}"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per pruned cell and text: its loss per entropy's, without and with the same recovery."""
        first = ComparedBy.first_of(evidence)
        logarithmic = [outcome for outcome in first if outcome.declared.metric.effect == "ratio"]
        for compared in comparisons(evidence, logarithmic):
            # In a partial run, cells have different draws, or none.
            for left, right in _pairs(compared.sides) if DENSE_SIDE in compared.sides else ():
                with suppress(NotComparableError):
                    yield _row(compared, left, right)


def _row(compared: Comparison, left: Side, right: Side) -> EffectRow:
    sides = compared.sides
    value, low, high = loss_ratio(sides[right], sides[DENSE_SIDE], sides[left])
    counts = estimate(compared.difference(left, right))
    return compared.row(
        Losses.question,
        left,
        right,
        replace(counts, spread=None),
        covers="" if np.isnan(low) else BOTH,
        value=value,
        low=low,
        high=high,
        p=np.nan,
        family="",
        better="lower",
        form=Losses.form,
    )


def _pairs(sides: Mapping[Side, Outcomes]) -> Iterator[tuple[Side, Side]]:
    for left, recovery in product(sides, (Recovery.NONE, Recovery.LINEAR)):
        right: Side = PAPERS, recovery
        if right in sides and left != right and left[0] != DENSE and recovery in (Recovery.NONE, left[1]):
            yield left, right


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return a cell's loss per that of another cell, with its 95 % interval (Fieller's).

    A ratio ρ is within it where the interval of (other - dense) - ρ·(paper - dense) holds 0. The ends are NaN
    where the other cell's loss is not significantly above zero.
    """

    def of(ratio: float) -> Estimate:
        return estimate(contrast([(1.0, other), (ratio - 1, dense), (-ratio, paper)]))

    value = of(0).value / (of(0).value - of(1).value)
    if not estimate(contrast([(1, paper), (-1, dense)])).low > 0:
        return value, np.nan, np.nan
    return value, _root(lambda x: of(x).low, value, -1), _root(lambda x: of(x).high, value, 1)


def _root(end: Callable[[float], float], value: float, side: int) -> float:
    """Return where an end of the interval crosses 0, at one side of the value."""
    step = 0.1
    while not end(value + side * step) * end(value) < 0:
        step *= 2
        if step > FARTHEST:
            return float("nan")
    return float(brentq(end, *sorted((value, value + side * step)), xtol=1e-5))
