"""Uncertainty of an effect over draws of the calibration and items together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hfprune.analysis.outcomes import Contrast
from hfprune.calibration.folds import FOLDS

LEVEL = 0.95
POWER = 0.8
MULTIPLES = range(2, 101)
# The variance over real draws per that over resampled ones. Eight folds drawn with replacement vary by 7/8 of the
# variance that eight new ones would have.
RESAMPLING = FOLDS / (FOLDS - 1)
# With fewer, the spread over draws is as good as unknown: Student's t of two draws is 12.7.
MIN_DRAWS = 3
# With fewer, no interval covers what it says where items are skewed (docs/inference.md).
MIN_DOCUMENTS = 8
NO_SKEWNESS = 1e-8


def interval(
    value: ArrayLike, variance: ArrayLike, dof: ArrayLike, skewness: ArrayLike = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval, elementwise: every interval of an effect is this one.

    It is that of Student's t, lengthened on the side on which the skewness of the mean makes t too short: the end
    is there that of Hall's cubic transformation of t. It is nowhere shorter than Student's, since a skewness found
    in few documents may be none. NaN leaves the interval unknown.

    Source: Hall, "On the Removal of Skewness by Transformation", 1992.
    """
    from scipy.stats import t

    stderr, quantile = np.sqrt(variance), t.ppf((1 + LEVEL) / 2, dof)
    # Without any skewness the transformation is the identity, in the limit.
    a = np.where(np.abs(skewness) < NO_SKEWNESS, NO_SKEWNESS, skewness)
    down, up = (3 / a * (np.cbrt(1 + a * (x - a / 6)) - 1) for x in (quantile, -quantile))
    return value - stderr * np.maximum(down, quantile), value - stderr * np.minimum(up, -quantile)


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

    A variance of few degrees of freedom ν has a square that is too large by 1 + 2/ν on average, and is small where
    the interval is already too short. The variance over draws is therefore enlarged by 1 + 4/ν in this place:
    without that, simulated intervals of three draws cover too little where draws dominate
    (`tests/analysis/test_statistics.py`).
    """
    enlarged = np.multiply(draws, 1 + 4 / np.asarray(draws_dof, float))
    return satterthwaite(np.array([enlarged, items]), np.array([draws_dof, items_dof]))


class Spread(NamedTuple):
    """The variance of a mean effect, in its three parts, each for the number of draws and items that there are."""

    draws: float
    """What other draws would change on all items alike."""
    items: float
    """What other items would change with all draws alike."""
    both: float
    """The rest, which more draws and more items reduce; it is contained in neither of the others."""
    third: float
    """The third central moment of the mean over items."""
    draws_dof: float
    items_dof: float

    @property
    def variance(self) -> float:
        return self.draws + self.items + self.both

    @property
    def dof(self) -> float:
        items = self.items + self.both
        return float(draws_and_items(self.draws, items, self.draws_dof, self.items_dof))

    @property
    def skewness(self) -> float:
        """The skewness of the mean, enlarged by 1 + 6/ν for ν degrees of freedom of items.

        Found in few documents, that of a long tail is too small (docs/inference.md).
        """
        return self.third / self.variance**1.5 * (1 + 6 / self.items_dof) if self.variance else 0.0

    def with_more(self, draws: float = 1, items: float = 1) -> "Spread":
        return Spread(
            draws=self.draws / draws,
            items=self.items / items,
            both=self.both / (draws * items),
            third=self.third / items**2,
            draws_dof=(self.draws_dof + 1) * draws - 1,
            items_dof=(self.items_dof + 1) * items - 1,
        )


@dataclass(frozen=True)
class Estimate:
    """An effect and its 95 % interval; both ends are NaN if its uncertainty is unknown.

    The effect of a ratio is its logarithm.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    """Items behind it; 0 if there are none."""
    draws: int = 0
    """Seeds behind it; 0 if no draw changes it."""
    resamples: int = 0
    """Resampled calibrations a seed that the spread over draws is from; 0 if it is from the seeds themselves."""
    stderr: float = np.nan
    dof: float = np.nan
    skewness: float = 0.0
    spread: Spread | None = None

    @property
    def known(self) -> bool:
        return not np.isnan(self.low)

    def within(self, variance: float, dof: float, skewness: float = 0.0) -> "Estimate":
        """Return the estimate with the interval by this variance; NaN leaves it unknown."""
        low, high = map(float, interval(self.value, variance, dof, skewness))
        stderr = float(np.sqrt(variance))
        return replace(self, low=low, high=high, stderr=stderr, dof=dof, skewness=skewness)

    def about(self, spread: Spread) -> "Estimate":
        """Return the estimate with the interval by this spread; with few documents, it stays unknown."""
        found = replace(self, spread=spread)
        # Rounded, since a quotient of one task's variances may be 6.999999999999999 where it is seven.
        if round(spread.items_dof, 6) < MIN_DOCUMENTS - 1:
            return found
        return found.within(spread.variance, spread.dof, spread.skewness)

    def p_value(self, effect: float = 0.0) -> float:
        """Return the two-sided p-value of this effect, below 0.05 where the interval leaves it out."""
        from scipy.stats import t

        if not self.known or not self.stderr:
            return np.nan if not self.known else float(self.value == effect)
        x, a = (self.value - effect) / self.stderr, self.skewness
        transformed = x + a * x**2 / 3 + a**2 * x**3 / 27 + a / 6
        return min(1.0, float(2 * t.sf(np.sign(x) * np.array([x, transformed]), self.dof).max()))

    def minimum(self) -> float:
        from scipy.stats import t

        if not self.known or not self.stderr:
            return np.nan if not self.known else 0.0
        longer = max(self.high - self.value, self.value - self.low)
        return float(longer + t.ppf(POWER, self.dof) * self.stderr)


def estimate(effect: Contrast) -> Estimate:
    """Estimate the mean over tasks of the mean contrast, with an interval over draws and items together.

    The variance has two ways, draws × items (Searle, Casella and McCulloch, "Variance Components", 1992, chapter
    4). Items of one document count as one, documents weigh by their number of items, and tasks are independent
    strata of equal weight with the same draws. The variance over draws is that over resampled calibrations, pooled
    with that over several seeds; without resamples, fewer than `MIN_DRAWS` seeds have no interval. Nor have fewer
    than `MIN_DOCUMENTS` items or documents. `interval` has the ends.

    Raises:
        ValueError: there is no task, a task has no item, or an outcome is not finite.
    """
    arrays = [*effect.tasks.values()]
    if not arrays or not all(array.size and np.isfinite(array).all() for array in arrays):
        raise ValueError("needs at least one task and at least one outcome per task, all finite")
    seeds = len(arrays[0])
    resamples = next((array.shape[1] for array in effect.resampled.values()), 0)
    spread = None
    if effect.fixed:
        spread = _spread(effect, effect.tasks, seeds=1)
    elif resamples:
        spread = _resampled_spread(effect, seeds, resamples)
    elif seeds >= MIN_DRAWS:
        spread = _spread(effect, effect.tasks, seeds)
    found = Estimate(
        value=float(np.mean([array.mean() for array in arrays])),
        n=sum(array.shape[1] for array in arrays),
        draws=0 if effect.fixed else seeds,
        resamples=resamples,
    )
    return found.about(spread) if spread else found


def _spread(effect: Contrast, tasks: Mapping[str, np.ndarray], seeds: int) -> Spread | None:
    """Return the spread over draws and items of rows [seeds, items] by task; None if a task has one document."""
    by_task = [_deviations(array, effect.documents.get(task)) for task, array in tasks.items()]
    if any(rows.shape[-1] < 2 for rows in by_task):
        return None
    counts = np.array([rows.shape[-1] for rows in by_task])
    scales = counts / (counts - 1)  # as in `hfprune.results.items.mean_stderr`
    items = scales * [(rows.mean(0) ** 2).sum() for rows in by_task] / len(by_task) ** 2
    # Two documents have no skewness.
    thirds = scales * counts / np.maximum(counts - 2, 1) * [(rows.mean(0) ** 3).sum() for rows in by_task]
    dof = float(satterthwaite(items, counts - 1) if items.any() else (counts - 1).sum())
    alone = Spread(
        draws=0.0,
        items=float(items.sum()),
        both=0.0,
        third=float(thirds.sum() / len(by_task) ** 3),
        draws_dof=np.inf,
        items_dof=dof,
    )
    if seeds == 1:
        return alone
    both = (scales * [((rows - rows.mean(0)) ** 2).sum() for rows in by_task]).sum()
    both = float(both) / (seeds * (seeds - 1) * len(by_task) ** 2)
    means = np.mean([array.mean(1) for array in tasks.values()], axis=0)
    draws = max(float(means.var(ddof=1)) / seeds - both, 0.0)
    return alone._replace(draws=draws, items=max(alone.items - both, 0.0), both=both, draws_dof=seeds - 1)


def _resampled_spread(effect: Contrast, seeds: int, resamples: int) -> Spread | None:
    """Return the spread with the variance over draws from resampled calibrations; None if it is unknown.

    With several seeds, their variance is pooled with it by degrees of freedom, for both estimate the same.
    """
    if (alone := _spread(effect, effect.tasks, seeds=1)) is None:
        return None
    one_seed = (
        _spread(effect, {task: array[seed] for task, array in effect.resampled.items()}, resamples)
        for seed in range(seeds)
    )
    each = [found for found in one_seed if found]  # all of them: the items are those of `alone`
    # Each is the spread of the mean over resamples.
    draws = float(np.mean([resamples * found.draws for found in each])) * RESAMPLING / seeds
    both = float(np.mean([resamples * found.both for found in each])) / seeds
    dof = resampling_dof(seeds, resamples)
    if seeds > 1 and (real := _spread(effect, effect.tasks, seeds)):
        draws = (dof * draws + real.draws_dof * real.draws) / (dof + real.draws_dof)
        dof += real.draws_dof
    return alone._replace(draws=draws, items=max(alone.items - both, 0.0), both=both, draws_dof=dof)


def resampling_dof(seeds: int, resamples: int) -> float:
    """Return the degrees of freedom of a variance over resamples, which both folds and resamples limit."""
    return seeds / (1 / (FOLDS - 1) + 1 / max(resamples - 1, 1))


def _deviations(array: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Return each document's share of the deviation from the mean [rows, documents], of outcomes [rows, items]."""
    shares = (array - array.mean(1, keepdims=True)) / array.shape[1]
    if documents is None:
        return shares
    codes = np.unique(documents, return_inverse=True)[1]
    return np.stack([np.bincount(codes, row) for row in shares])


def multiples_to_decide(effect: Estimate, decided: Callable[[Estimate], bool]) -> tuple[int, int] | None:
    """Return how many times the draws and the items would decide an effect as large as the one found.

    More draws, more items or both, by the smallest product; None if a hundred times both would not do, or if the
    spread is unknown.
    """
    spread = effect.spread
    if spread is None:
        return None
    ways = [*((k, 1) for k in MULTIPLES), *((1, k) for k in MULTIPLES), *((k, k) for k in MULTIPLES)]
    narrower = ((way, effect.about(spread.with_more(*way))) for way in sorted(ways, key=np.prod))
    return next((way for way, found in narrower if decided(found)), None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method (1979); a missing one stays missing."""
    values = pd.Series(np.asarray(p_values, float))
    known = values.sort_values(kind="stable").dropna()
    adjusted = (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(values.index).tolist()
