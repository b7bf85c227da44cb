"""Sums of contrasts that share items or models, but not the draws of the calibration."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.statistics.spread import Spread, satterthwaite, spread_of


def sum_on_common_items(contrasts: Sequence[Contrast]) -> Estimate:
    """Estimate the sum of contrasts, each with draws of its own, on items that all of them have.

    The variances over draws add up. The variance over items is that of the summed means over draws, so that what
    an item does to all contrasts alike is counted once.

    Args:
        contrasts: all on the same tasks and items, without resamples.

    Returns:
        The estimate; without an interval where one of the contrasts has none.
    """
    estimates = [estimate(contrast) for contrast in contrasts]
    tasks = {
        task: np.sum([contrast.tasks[task].mean(0, keepdims=True) for contrast in contrasts], axis=0)
        for task in contrasts[0].tasks
    }
    whole = replace(contrasts[0], tasks=tasks, resampled={}, accuracies=frozenset())
    alone = Estimate(
        value=sum(term.value for term in estimates),
        n=estimates[0].n,
        draws=sum(term.draws for term in estimates),
    )
    items = spread_of(whole, tasks, draws=1)
    spreads = [term.spread for term in estimates if term.spread]
    if items is None or len(spreads) < len(estimates):
        return alone
    rest = sum(spread.interaction for spread in spreads)
    return alone.about(
        Spread(
            draws=sum(spread.draws for spread in spreads),
            items=max(items.items - rest, 0.0),
            interaction=rest,
            third=items.third,
            draws_dof=_dof([spread.draws for spread in spreads], [spread.draws_dof for spread in spreads]),
            items_dof=items.items_dof,
        )
    )


def difference_of_independent(left: Estimate, right: Estimate) -> Estimate:
    """Estimate one effect less another that shares neither draws nor items with it.

    The estimate has no interval where one of the two has none.
    """
    alone = Estimate(left.value - right.value, n=left.n + right.n, draws=left.draws + right.draws)
    if left.spread is None or right.spread is None:
        return alone
    spreads = left.spread, right.spread
    return alone.about(
        Spread(
            draws=sum(spread.draws for spread in spreads),
            items=sum(spread.items for spread in spreads),
            interaction=sum(spread.interaction for spread in spreads),
            third=left.spread.third - right.spread.third,
            draws_dof=_dof([spread.draws for spread in spreads], [spread.draws_dof for spread in spreads]),
            items_dof=_dof([spread.items for spread in spreads], [spread.items_dof for spread in spreads]),
        )
    )


def _dof(variances: Sequence[float], dofs: Sequence[float]) -> float:
    """Return Satterthwaite's degrees of freedom, or the smallest of `dofs` where all variances are zero."""
    return float(satterthwaite(variances, dofs)) if np.any(variances) else float(min(dofs))
