"""The variance of a mean effect over draws of the calibration and over items, with its degrees of freedom."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hfprune.calibration.folds import FOLDS
from hfprune.statistics.outcomes import Contrast

# The variance over real draws per that over resampled ones. Eight folds drawn with replacement vary by 7/8 of the
# variance that eight new ones would have.
RESAMPLING = FOLDS / (FOLDS - 1)
# With fewer documents, no interval covers what it claims to where items are skewed (docs/inference.md).
MIN_DOCUMENTS = 8


def satterthwaite(variances: ArrayLike, dofs: ArrayLike) -> np.ndarray:
    """Return Satterthwaite's degrees of freedom of sums of variances [parts, …]; infinite if all are 0.

    Source: "An Approximate Distribution of Estimates of Variance Components", 1946.
    """
    variances, dofs = np.broadcast_arrays(np.asarray(variances, float), np.asarray(dofs, float))
    parts = np.divide(variances**2, dofs, out=np.zeros(variances.shape), where=variances != 0).sum(0)
    return np.divide(variances.sum(0) ** 2, parts, out=np.full(parts.shape, np.inf), where=parts != 0)


def draws_and_items(
    draws: ArrayLike, items: ArrayLike, draws_dof: ArrayLike, items_dof: ArrayLike
) -> np.ndarray:
    """Return Satterthwaite's degrees of freedom of a variance over draws and one over items, elementwise.

    The square of a variance of few degrees of freedom ν is too large by 1 + 2/ν on average, and is small where
    the interval is already too short. The variance over draws is therefore enlarged by 1 + 4/ν in this formula:
    without that, simulated intervals of three draws cover too little where draws dominate
    (`tests/analysis/test_statistics.py`).
    """
    enlarged = np.multiply(draws, 1 + 4 / np.asarray(draws_dof, float))
    return satterthwaite(np.array([enlarged, items]), np.array([draws_dof, items_dof]))


class Spread(NamedTuple):
    """The variance of a mean effect in three parts, each for the number of draws and items that were measured."""

    draws: float
    """What other draws would change on all items alike."""
    items: float
    """What other items would change with all draws alike."""
    interaction: float
    """The rest, which both more draws and more items reduce; contained in neither of the others."""
    third: float
    """The third central moment of the mean over items."""
    draws_dof: float
    items_dof: float

    @property
    def variance(self) -> float:
        """The variance of the mean effect: the sum of its three parts."""
        return self.draws + self.items + self.interaction

    @property
    def dof(self) -> float:
        """Satterthwaite's degrees of freedom of the variance; `interaction` counts as one over items."""
        items = self.items + self.interaction
        return float(draws_and_items(self.draws, items, self.draws_dof, self.items_dof))

    @property
    def skewness(self) -> float:
        """The skewness of the mean, enlarged by 1 + 6/ν for ν degrees of freedom of items.

        Estimated from few documents, the skewness of a long tail is too small (docs/inference.md).
        """
        return self.third / self.variance**1.5 * (1 + 6 / self.items_dof) if self.variance else 0.0

    @property
    def too_few(self) -> bool:
        """Whether the documents are fewer than an interval needs."""
        # Rounded, since a quotient of one task's variances may be 6.999999999999999 where it is seven.
        return round(self.items_dof, 6) < MIN_DOCUMENTS - 1

    def with_more(self, draws: float = 1, items: float = 1) -> "Spread":
        """Return the spread to expect with these multiples of the draws and the items."""
        return Spread(
            draws=self.draws / draws,
            items=self.items / items,
            interaction=self.interaction / (draws * items),
            third=self.third / items**2,
            draws_dof=(self.draws_dof + 1) * draws - 1,
            items_dof=(self.items_dof + 1) * items - 1,
        )


def spread_of(effect: Contrast, tasks: Mapping[str, np.ndarray], draws: int) -> Spread | None:
    """Return the spread of outcomes [draws, items] by task; None if a task has only one document."""
    by_task = [_deviations(array, effect.documents.get(task)) for task, array in tasks.items()]
    if any(rows.shape[-1] < 2 for rows in by_task):
        return None
    counts = np.array([rows.shape[-1] for rows in by_task])
    scales = counts / (counts - 1)  # as in `hfprune.cells.items.mean_stderr`
    items = scales * [(rows.mean(0) ** 2).sum() for rows in by_task] / len(by_task) ** 2
    # Two documents have no skewness.
    thirds = scales * counts / np.maximum(counts - 2, 1) * [(rows.mean(0) ** 3).sum() for rows in by_task]
    dof = float(satterthwaite(items, counts - 1) if items.any() else (counts - 1).sum())
    alone = Spread(
        draws=0.0,
        items=float(items.sum()),
        interaction=0.0,
        third=float(thirds.sum() / len(by_task) ** 3),
        draws_dof=np.inf,
        items_dof=dof,
    )
    if draws == 1:
        return alone
    rest = (scales * [((rows - rows.mean(0)) ** 2).sum() for rows in by_task]).sum()
    rest = float(rest) / (draws * (draws - 1) * len(by_task) ** 2)
    means = np.mean([array.mean(1) for array in tasks.values()], axis=0)
    variance = max(float(means.var(ddof=1)) / draws - rest, 0.0)
    return alone._replace(
        draws=variance, items=max(alone.items - rest, 0.0), interaction=rest, draws_dof=draws - 1
    )


def resampled_spread(effect: Contrast, draws: int, resamples: int) -> Spread | None:
    """Return the spread with the variance over draws from resampled calibrations; None if it is unknown.

    The variance over several draws, which estimates the same, is pooled with it by degrees of freedom.
    """
    if (alone := spread_of(effect, effect.tasks, draws=1)) is None:
        return None
    by_draw = (
        spread_of(effect, {task: array[draw] for task, array in effect.resampled.items()}, resamples)
        for draw in range(draws)
    )
    spreads = [spread for spread in by_draw if spread]  # all of them: the items are those of `alone`
    # Each of these is the spread of the mean over resamples.
    variance = float(np.mean([resamples * spread.draws for spread in spreads])) * RESAMPLING / draws
    rest = float(np.mean([resamples * spread.interaction for spread in spreads])) / draws
    dof = resampling_dof(draws, resamples)
    if draws > 1 and (real := spread_of(effect, effect.tasks, draws)):
        variance = (dof * variance + real.draws_dof * real.draws) / (dof + real.draws_dof)
        dof += real.draws_dof
    return alone._replace(draws=variance, items=max(alone.items - rest, 0.0), interaction=rest, draws_dof=dof)


def resampling_dof(draws: int, resamples: int) -> float:
    """Return the degrees of freedom of a variance over resamples, which both folds and resamples limit."""
    return draws / (1 / (FOLDS - 1) + 1 / max(resamples - 1, 1))


def _deviations(array: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Return each document's share of the deviation from the mean [rows, documents] for outcomes [rows, items]."""
    shares = (array - array.mean(1, keepdims=True)) / array.shape[1]
    if documents is None:
        return shares
    codes = np.unique(documents, return_inverse=True)[1]
    return np.stack([np.bincount(codes, row) for row in shares])
