"""Uncertainty of an effect: paired bootstrap over items and seeds, McNemar's test, ratios of measurements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from hfprune.errors import HfpruneError

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 500  # resamples at once, so that 5,000 different outcomes take 20 MB

T = TypeVar("T")
# Seed → task (or the one corpus) → outcome of each item, indexed by the item.
Outcomes = Mapping[int, Mapping[str, pd.Series]]


class NotComparableError(HfpruneError):
    """Says why two sides cannot be compared: something was not measured, or not on the same items."""


@dataclass(frozen=True)
class Estimate:
    """An effect and its 95 % interval; both ends are NaN if its uncertainty is unknown.

    `n` counts the items behind it (0 if there are none), and `seeds` the seeds.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """Apply a rising function to the effect and the ends of its interval."""
        value, low, high = (float(function(x)) for x in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


def by_seed(sides: Sequence[Mapping[int, T]]) -> dict[int, list[T]]:
    """Return the entries of all sides for every seed that they have in common.

    Seed k of one side is paired with seed k of the others, since both read the same calibration. A side with a
    single seed, such as the dense model, which no seed changes, is paired with every seed of the others.

    Raises:
        NotComparableError: the sides have no seed in common.
    """
    several = [set(side) for side in sides if len(side) > 1] or [set(sides[0])]
    seeds = sorted(set.intersection(*several))
    if not seeds:
        raise NotComparableError("the two sides have no seed in common")
    return {
        seed: [side[seed] if len(side) > 1 else next(iter(side.values())) for side in sides] for seed in seeds
    }


def contrast(terms: Sequence[tuple[float, Outcomes]]) -> dict[str, np.ndarray]:
    """Return the weighted sum of several sides' outcomes, item by item: with weights 1 and -1, the difference.

    `by_seed` pairs the seeds.

    Returns:
        Task → float64 array [seeds, items].

    Raises:
        NotComparableError: the sides have no seed in common, or were measured on different tasks or items.
    """
    chosen = [*by_seed([outcomes for _, outcomes in terms]).values()]
    weights, first = [weight for weight, _ in terms], chosen[0][0]
    for tasks in (tasks for sides in chosen for tasks in sides):
        if tasks.keys() != first.keys():
            raise NotComparableError("the two sides were measured on different tasks")
        for task, outcomes in tasks.items():
            if not outcomes.index.equals(first[task].index):
                raise NotComparableError(f"the two sides were measured on different items of {task}")
    return {
        task: np.array(
            [weights @ np.array([tasks[task].to_numpy(np.float64) for tasks in sides]) for sides in chosen]
        )
        for task in first
    }


def documents_of(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """Return the document of every item [items], for the tasks whose items have one."""
    first = next(iter(outcomes.values()))
    return {
        task: items.index.get_level_values("document").to_numpy()
        for task, items in first.items()
        if "document" in items.index.names
    }


def paired_bootstrap(
    contrasts: Mapping[str, np.ndarray], seed: int, documents: Mapping[str, np.ndarray] | None = None
) -> Estimate:
    """Estimate the mean over tasks of the mean contrast, with a percentile bootstrap interval.

    Items are drawn within their task, independently for each task; an item keeps the outcomes of both sides and of
    all seeds together. Blocks of one document are drawn together. If there are several seeds, they are drawn too,
    the same ones for every task. Two or three seeds tell little about the spread over seeds, and the interval is
    then too narrow. With few items or documents the percentiles move outwards, as far as Student's t is wider than
    the normal distribution (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, expanded percentile
    interval); with up to four the interval ends at the lowest and the highest resample.

    Args:
        contrasts: task → array [seeds, items], as from `contrast`; all tasks have the same seeds.
        seed: seed of the random draws, see `hfprune.seeds.derive_seed`.
        documents: task → the document of each item [items]; by default every item is drawn by itself.

    Raises:
        ValueError: there is no task, a task has no item, or an outcome is not finite.
    """
    arrays = [*contrasts.values()]
    if not arrays or not all(array.size and np.isfinite(array).all() for array in arrays):
        raise ValueError("needs at least one task and at least one outcome per task, all finite")
    rng = np.random.default_rng(seed)
    seeds = len(arrays[0])
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    units = {task: _units(array, (documents or {}).get(task)) for task, array in contrasts.items()}
    means = np.mean([_resampled_means(unit, drawn_seeds, rng) for unit in units.values()], axis=0)
    fewest = min(unit.shape[1] for unit in units.values())
    # A single unit says nothing about the spread.
    low, high = np.quantile(means, _expanded(fewest)) if fewest > 1 else (np.nan, np.nan)
    value = float(np.mean([array.mean() for array in arrays]))
    return Estimate(value, float(low), float(high), sum(array.shape[1] for array in arrays), seeds)


def _expanded(units: int) -> tuple[float, float]:
    """Return the lower and the upper percentile, from 0 to 1, for this number of units, at least two."""
    from scipy.stats import norm, t

    low = float(norm.cdf(np.sqrt(units / (units - 1)) * t.ppf((1 - LEVEL) / 2, units - 1)))
    return low, 1 - low


def _units(outcomes: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Return a column per unit of drawing [seeds + 1, units]: sums of outcomes by seed, and last the counts."""
    sizes = np.ones((1, outcomes.shape[1]))
    rows = np.concatenate([outcomes, sizes])
    if documents is None:
        return rows
    codes = np.unique(documents, return_inverse=True)[1]
    return np.stack([np.bincount(codes, row) for row in rows])


def _resampled_means(units: np.ndarray, drawn_seeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mean of each resample of a task [resamples].

    Equal units are interchangeable, so the number of times that each distinct unit is drawn is sampled instead of
    the units. The distribution is the same; with outcomes of 0 and 1 this is a hundred times faster.
    """
    distinct, counts = np.unique(units, axis=1, return_counts=True)
    means = np.empty(len(drawn_seeds))
    for start in range(0, len(means), _CHUNK):
        part = slice(start, start + _CHUNK)
        drawn = rng.multinomial(counts.sum(), counts / counts.sum(), len(means[part]))
        sums = ((drawn @ distinct[:-1].T) * drawn_seeds[part]).sum(axis=1)
        means[part] = sums / (drawn @ distinct[-1])
    return means


def mcnemar(left: np.ndarray, right: np.ndarray) -> tuple[int, int, float]:
    """Test whether two methods, right (1) or wrong (0) on the same items, are right equally often.

    Returns:
        The number of items that only the left one has right, the number that only the right one has right, and
        the exact two-sided p-value.
    """
    from scipy.stats import binomtest

    left_only, right_only = int((left > right).sum()), int((right > left).sum())
    if left_only + right_only == 0:
        return 0, 0, 1.0
    return left_only, right_only, float(binomtest(left_only, left_only + right_only).pvalue)


def ratio(left: pd.DataFrame, right: pd.DataFrame, repeatable: bool) -> Estimate:
    """Estimate the ratio of two numbers that were measured independently, in logarithms.

    The interval is Student's t over seeds if there are several, else over repeats, by the two standard errors
    and Welch's degrees of freedom. One seed without standard errors has no interval, unless the number is
    repeatable: then it is exact.

    Args:
        left: columns `value`, positive, `stderr`, and `n`, the repeats, one row per seed, indexed by it.
        right: the divisor, with the same columns.
        repeatable: whether another run would give the same number.

    Raises:
        NotComparableError: the sides have no seed in common.
    """
    from scipy.stats import t

    rows = [*by_seed([dict(left.iterrows()), dict(right.iterrows())]).values()]
    a, b = (pd.DataFrame([pair[i] for pair in rows]) for i in (0, 1))
    logs = np.log(a["value"].to_numpy() / b["value"].to_numpy())
    if len(logs) > 1:
        half = t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    elif repeatable:
        half = 0.0
    else:
        parts = np.array([(side["stderr"].iloc[0] / side["value"].iloc[0]) ** 2 for side in (a, b)], float)
        repeats = np.array([side["n"].iloc[0] for side in (a, b)], float)
        with np.errstate(invalid="ignore"):  # one measured repeat has no spread, so the interval has no ends
            freedom = parts.sum() ** 2 / np.sum(parts**2 / np.maximum(repeats - 1, 1))
        # Without any spread there are no degrees of freedom either.
        half = 0.0 if (parts == 0).all() else t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(parts.sum())
    mean = logs.mean()
    value, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Estimate(value, low, high, 0, len(rows))
