"""Sums of contrasts that share items or models, but not the draws of the calibration."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.statistics.spread import Spread, satterthwaite, spread_of


def on_common_items(contrasts: Sequence[Contrast]) -> Estimate:
    """Estimate the sum of contrasts, each with draws of its own, on items that all of them have.

    The variance over draws is the sum of theirs. That over items is of the sum of their means over draws, so that
    what an item does to all of them alike is counted once.

    Args:
        contrasts: each on the same tasks and items, without resamples.
    """
    each = [estimate(contrast) for contrast in contrasts]
    tasks = {
        task: np.sum([contrast.tasks[task].mean(0, keepdims=True) for contrast in contrasts], axis=0)
        for task in contrasts[0].tasks
    }
    whole = replace(contrasts[0], tasks=tasks, resampled={}, accuracies=frozenset())
    alone = Estimate(
        value=sum(found.value for found in each),
        n=each[0].n,
        draws=sum(found.draws for found in each),
    )
    items = spread_of(whole, tasks, draws=1)
    spreads = [found.spread for found in each if found.spread]
    if items is None or len(spreads) < len(each):
        return alone
    both = sum(spread.both for spread in spreads)
    return alone.about(
        Spread(
            draws=sum(spread.draws for spread in spreads),
            items=max(items.items - both, 0.0),
            both=both,
            third=items.third,
            draws_dof=_dof([spread.draws for spread in spreads], [spread.draws_dof for spread in spreads]),
            items_dof=items.items_dof,
        )
    )


def of_independent(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Estimate a weighted sum of effects that share neither draws nor items."""
    spreads = [found.spread for found in estimates if found.spread]
    value = float(sum(weight * found.value for weight, found in zip(weights, estimates, strict=True)))
    alone = Estimate(value, n=sum(found.n for found in estimates), draws=sum(x.draws for x in estimates))
    if len(spreads) < len(estimates):
        return alone
    squares = np.square(weights)

    def total(part: str) -> float:
        return float(squares @ [getattr(spread, part) for spread in spreads])

    def dof(part: str) -> float:
        parts = squares * [getattr(spread, part) for spread in spreads]
        return _dof(parts, [getattr(spread, f"{part}_dof") for spread in spreads])

    third = sum(weight**3 * spread.third for weight, spread in zip(weights, spreads, strict=True))
    return alone.about(
        Spread(total("draws"), total("items"), total("both"), third, dof("draws"), dof("items"))
    )


def _dof(variances: Sequence[float] | np.ndarray, dofs: Sequence[float]) -> float:
    """Return Satterthwaite's degrees of freedom; of variances that are all zero, the least of theirs."""
    return float(satterthwaite(variances, dofs)) if np.any(variances) else float(min(dofs))
