"""How far an effect may be off: paired bootstrap over items and seeds, McNemar's test, ratios of measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """An effect and its 95 % interval; NaN at both ends where nothing says how far the effect may be off.

    `n` counts the items behind it, 0 where there are none, and `seeds` the seeds.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int


def by_seed(sides: Sequence[Mapping[int, T]]) -> dict[int, list[T]]:
    """Return, for every seed that the sides have in common, what each side has for it.

    Seed k of one side belongs to seed k of the others, since both saw the same calibration; a side with a single
    seed, like the dense model, which no seed changes, belongs to every seed of the others.

    Raises:
        NotComparableError: there is no such seed.
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

    Seeds belong together as `by_seed` has them.

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

    Items are drawn within their task, tasks independently of each other, and an item brings the outcomes of both
    sides, and of all seeds, with it. Blocks of one document are drawn together. Where there are several seeds,
    they are drawn too, the same ones for every task. Two or three seeds tell little of how much seeds matter, and
    the interval is then rather too narrow. Of few items or documents the percentiles are moved outwards, as far as
    Student's t is wider than the normal distribution (Hesterberg, "What Teachers Should Know About the Bootstrap",
    2015, expanded percentile interval); of up to four the interval ends at the lowest and the highest resample.

    Args:
        contrasts: task → array [seeds, items], as from `contrast`; all tasks have the same seeds.
        seed: of the random draws, see `hfprune.calibration.derive_seed`.
        documents: task → the document of each item [items]; by default each item stands for itself.

    Raises:
        ValueError: there is no task, a task has no item, or an outcome is not finite.
    """
    arrays = [*contrasts.values()]
    if not arrays or not all(array.size and np.isfinite(array).all() for array in arrays):
        raise ValueError("needs at least one task and one finite outcome in each")
    rng = np.random.default_rng(seed)
    seeds = len(arrays[0])
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    units = {task: _units(array, (documents or {}).get(task)) for task, array in contrasts.items()}
    means = np.mean([_resampled_means(unit, drawn_seeds, rng) for unit in units.values()], axis=0)
    fewest = min(unit.shape[1] for unit in units.values())
    # A single one says nothing about how much they differ.
    low, high = np.quantile(means, _expanded(fewest)) if fewest > 1 else (np.nan, np.nan)
    value = float(np.mean([array.mean() for array in arrays]))
    return Estimate(value, float(low), float(high), sum(array.shape[1] for array in arrays), seeds)


def _expanded(units: int) -> tuple[float, float]:
    """Return the lower and the upper percentile for so many units, at least two, from 0 to 1."""
    from scipy.stats import norm, t

    low = float(norm.cdf(np.sqrt(units / (units - 1)) * t.ppf((1 - LEVEL) / 2, units - 1)))
    return low, 1 - low


def _units(outcomes: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Return what is drawn together [seeds + 1, units]: the sum of its outcomes, and in the last row how many."""
    sizes = np.ones((1, outcomes.shape[1]))
    rows = np.concatenate([outcomes, sizes])
    if documents is None:
        return rows
    codes = np.unique(documents, return_inverse=True)[1]
    return np.stack([np.bincount(codes, row) for row in rows])


def _resampled_means(units: np.ndarray, drawn_seeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mean of each resample of a task [resamples].

    Equal units are interchangeable, so not units are drawn but how often each distinct one comes, which is the
    same distribution and, with outcomes of 0 and 1, a hundred times faster.
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
        How many items only the left one has right, how many only the right one, and the exact two-sided p-value.
    """
    from scipy.stats import binomtest

    left_only, right_only = int((left > right).sum()), int((right > left).sum())
    if left_only + right_only == 0:
        return 0, 0, 1.0
    return left_only, right_only, float(binomtest(left_only, left_only + right_only).pvalue)


def ratio(left: pd.DataFrame, right: pd.DataFrame, repeatable: bool) -> Estimate:
    """Estimate the ratio of two numbers that were measured independently, in logarithms.

    The interval is Student's t over seeds where there are several, else over repeats, by the two standard errors
    and Welch's degrees of freedom. One seed without standard errors has no interval, unless the number is
    repeatable: then it is exact.

    Args:
        left: columns `value`, positive, `stderr`, and `n`, the repeats, one row per seed, indexed by it.
        right: the same, of what to divide by.
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
        with np.errstate(invalid="ignore"):  # one measured repeat has no spread, and the interval no end
            freedom = parts.sum() ** 2 / np.sum(parts**2 / np.maximum(repeats - 1, 1))
        # Without any spread there are no degrees of freedom either.
        half = 0.0 if (parts == 0).all() else t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(parts.sum())
    mean = logs.mean()
    value, low, high = (float(np.exp(x)) for x in (mean, mean - half, mean + half))
    return Estimate(value, low, high, 0, len(rows))
