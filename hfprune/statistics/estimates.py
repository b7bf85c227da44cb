"""Uncertainty of an effect over draws of the calibration and items together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.statistics.outcomes import Contrast
from hfprune.statistics.spread import Spread, resampled_spread, spread_of

LEVEL = 0.95  # of every interval
ALPHA = 0.05  # of every test: an interval that excludes no effect has a smaller p-value
POWER = 0.8
MULTIPLES = range(2, 101)
NO_SKEWNESS = 1e-8


def interval(
    value: ArrayLike, variance: ArrayLike, dof: ArrayLike, skewness: ArrayLike = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval, elementwise: every interval of an effect is this one.

    The interval is Student's, lengthened on the side on which the skewness of the mean makes t too short: there,
    the end is that of Hall's cubic transformation of t. It is nowhere shorter than Student's, since a skewness
    estimated from few documents may be none. A variance of NaN gives ends of NaN.

    Source: Hall, "On the Removal of Skewness by Transformation", 1992.
    """
    from scipy.stats import t

    stderr, quantile = np.sqrt(variance), t.ppf((1 + LEVEL) / 2, dof)
    # Without any skewness the transformation is the identity, in the limit.
    a = np.where(np.abs(skewness) < NO_SKEWNESS, NO_SKEWNESS, skewness)
    down, up = (3 / a * (np.cbrt(1 + a * (x - a / 6)) - 1) for x in (quantile, -quantile))
    return value - stderr * np.maximum(down, quantile), value - stderr * np.minimum(up, -quantile)


@dataclass(frozen=True)
class Estimate:
    """An effect and its 95 % interval; both ends are NaN if its uncertainty is unknown.

    The effect of a ratio is its logarithm.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    """The number of items; 0 if there are none."""
    draws: int = 0
    """The number of draws; 0 if no draw changes the effect."""
    resamples: int = 0
    """Resampled calibrations per draw that give the spread over draws; 0 if the draws themselves give it."""
    stderr: float = np.nan
    dof: float = np.nan
    skewness: float = 0.0
    spread: Spread | None = None
    center: float | None = None
    """The middle of an adjusted interval; None if the interval is about `value` itself."""

    @property
    def middle(self) -> float:
        """The value that the interval is about: `center` where that is given, else the effect itself."""
        return self.value if self.center is None else self.center

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)

    def within(self, variance: float, dof: float, skewness: float = 0.0) -> "Estimate":
        """Return the estimate with the interval that this variance gives; NaN leaves it unknown."""
        low, high = map(float, interval(self.middle, variance, dof, skewness))
        stderr = float(np.sqrt(variance))
        return replace(self, low=low, high=high, stderr=stderr, dof=dof, skewness=skewness)

    def about(self, spread: Spread) -> "Estimate":
        """Return the estimate with the interval that this spread gives; with few documents, it stays unknown."""
        effect = replace(self, spread=spread)
        return effect if spread.too_few else effect.within(spread.variance, spread.dof, spread.skewness)

    def p_value(self, effect: float = 0.0) -> float:
        """Return the two-sided p-value of the hypothesis `effect`, below 0.05 where the interval excludes it."""
        from scipy.stats import t

        if not self.has_interval:
            return np.nan
        if not self.stderr:
            return float(self.middle == effect)
        x, a = (self.middle - effect) / self.stderr, self.skewness
        transformed = x + a * x**2 / 3 + a**2 * x**3 / 27 + a / 6
        return min(1.0, float(2 * t.sf(np.sign(x) * np.array([x, transformed]), self.dof).max()))

    def minimum(self) -> float:
        """Return the minimum detectable effect, which `POWER` of all repetitions would show, or NaN."""
        from scipy.stats import t

        if not self.has_interval:
            return np.nan
        if not self.stderr:
            return 0.0
        longer = max(self.high - self.middle, self.middle - self.low)
        return float(longer + t.ppf(POWER, self.dof) * self.stderr)


def estimate(effect: Contrast) -> Estimate:
    """Estimate the mean over tasks of the mean contrast, with an interval over draws and items together.

    The variance is that of a two-way layout, draws × items (Searle, Casella and McCulloch, "Variance Components",
    1992, chapter 4). Items of one document count as one, documents are weighted by their number of items, and
    tasks are independent strata of equal weight with the same draws. The variance over draws is that over
    resampled calibrations, pooled with that over several draws. There is no interval for fewer than `MIN_DRAWS`
    draws without resamples, nor for fewer than `MIN_DOCUMENTS` items or documents. `interval` gives the ends;
    `_with_a_pair` says what is added to a difference of two accuracies that no draw changes.

    Raises:
        ValueError: there is no task, a task has no item, or an outcome is not finite.
    """
    arrays = [*effect.tasks.values()]
    if not arrays or not all(array.size and np.isfinite(array).all() for array in arrays):
        raise ValueError("needs at least one task and at least one outcome per task, all finite")
    draws = len(arrays[0])
    resamples = next((array.shape[1] for array in effect.resampled.values()), 0)
    spread, center = None, None
    if effect.fixed:
        spread = spread_of(effect, effect.tasks, draws=1)
        if effect.accuracies and spread and not spread.too_few:
            tasks = _with_a_pair(effect)
            spread, center = spread_of(effect, tasks, draws=1), _mean(tasks)
    elif resamples:
        spread = resampled_spread(effect, draws, resamples)
    elif draws >= MIN_DRAWS:
        spread = spread_of(effect, effect.tasks, draws)
    result = Estimate(
        value=_mean(effect.tasks),
        n=sum(array.shape[1] for array in arrays),
        draws=0 if effect.fixed else draws,
        resamples=resamples,
        center=center,
    )
    if spread:
        result = result.about(spread)
    if center is None:
        return result
    # Two accuracies differ by at most 1.
    return replace(result, low=max(result.low, -1.0), high=min(result.high, 1.0))


def _mean(tasks: Mapping[str, np.ndarray]) -> float:
    return float(np.mean([array.mean() for array in tasks.values()]))


def _with_a_pair(effect: Contrast) -> dict[str, np.ndarray]:
    """Return outcomes with two more questions for every difference of accuracies: each side alone gets one right.

    Without these, the interval is too short where few answers differ, and a point where none does.

    Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data", 2012.
    """
    return {
        task: np.append(array, np.tile([1, -1], (len(array), 1)), axis=1)
        if task in effect.accuracies
        else array
        for task, array in effect.tasks.items()
    }


def multiples_to_decide(effect: Estimate, decided: Callable[[Estimate], bool]) -> tuple[int, int] | None:
    """Return the multiples of the draws and of the items that would decide an effect of the same size.

    More draws, more items or both are tried, the smallest product first; None if a hundred times both would not
    do, or if the spread is unknown.
    """
    spread = effect.spread
    if spread is None:
        return None
    ways = [*((k, 1) for k in MULTIPLES), *((1, k) for k in MULTIPLES), *((k, k) for k in MULTIPLES)]
    narrower = ((way, effect.about(spread.with_more(*way))) for way in sorted(ways, key=np.prod))
    return next((way for way, narrowed in narrower if decided(narrowed)), None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's method (1979); a missing one (NaN) stays missing and does not count."""
    values = pd.Series(np.asarray(p_values, float))
    ordered = values.sort_values(kind="stable").dropna()
    adjusted = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(values.index).tolist()
