"""Uncertainty of an effect over draws of the calibration and items together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from hfprune.errors import HfpruneError
from hfprune.scoring.folds import FOLDS

LEVEL = 0.95
POWER = 0.8
MULTIPLES = range(2, 101)
# The variance over real draws per that over resampled ones. Eight folds drawn with replacement vary by 7/8 of the
# variance that eight new ones would have.
RESAMPLING = FOLDS / (FOLDS - 1)
# With fewer, the spread over draws is as good as unknown: Student's t of two draws is 12.7.
MIN_DRAWS = 3

T = TypeVar("T")


class Draw(NamedTuple):
    """One sample of calibration sequences: that of a seed, or a resample of its folds (0: the sample itself)."""

    seed: int
    resample: int = 0


# Draw → task (or the one corpus) → outcome of each item, indexed by the item. The dense model, which no draw
# changes, has the only key None.
Outcomes = Mapping[Draw | None, Mapping[str, pd.Series]]


class NotComparableError(HfpruneError):
    """Says why two sides cannot be compared: they were not measured on the same draws, tasks or items."""


class NotMeasuredError(NotComparableError):
    """Says what was not measured."""


class Spread(NamedTuple):
    """The variance of a mean effect, in its three parts, each for the number of draws and items that there are."""

    draws: float
    """What other draws would change on all items alike."""
    items: float
    """What other items would change with all draws alike."""
    both: float
    """The rest, which more draws and more items reduce; it is contained in neither of the others."""
    draws_freedom: float
    items_freedom: float

    @property
    def variance(self) -> float:
        """The variance of the mean effect."""
        return self.draws + self.items + self.both

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom, of the variances over draws and over items.

        A variance of few degrees of freedom ν has a square that is too large by 1 + 2/ν on average, and is small
        where the interval is already too short. The variance over draws is therefore enlarged by 1 + 4/ν in this
        place: without that, simulated intervals of three draws cover too little where draws dominate
        (`tests/analysis/test_statistics.py`).
        """
        items = self.items + self.both
        enlarged = self.draws * (1 + 4 / self.draws_freedom) if self.draws else 0.0
        if not items + enlarged:
            return np.inf
        parts = items**2 / self.items_freedom + (enlarged**2 / self.draws_freedom if enlarged else 0)
        return (items + enlarged) ** 2 / parts

    def with_more(self, draws: float = 1, items: float = 1) -> "Spread":
        """Return the spread to expect with so many times the draws and the items."""
        return Spread(
            self.draws / draws,
            self.items / items,
            self.both / (draws * items),
            (self.draws_freedom + 1) * draws - 1,
            (self.items_freedom + 1) * items - 1,
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
    freedom: float = np.nan
    spread: Spread | None = None

    @property
    def known(self) -> bool:
        """Whether the interval is known."""
        return not np.isnan(self.low)

    def within(self, variance: float, freedom: float) -> "Estimate":
        """Return the estimate with the interval of Student's t by this variance; NaN leaves it unknown."""
        from scipy.stats import t

        stderr = float(np.sqrt(variance))
        half = float(t.ppf((1 + LEVEL) / 2, freedom) * stderr) if stderr else 0.0
        low, high = self.value - half, self.value + half
        return replace(self, low=low, high=high, stderr=stderr, freedom=freedom)

    def about(self, spread: Spread) -> "Estimate":
        """Return the estimate with the interval by this spread."""
        return replace(self.within(spread.variance, spread.freedom), spread=spread)

    def p_value(self, than: float = 0.0) -> float:
        """Return the two-sided p-value of the effect being `than`; NaN without an interval."""
        from scipy.stats import t

        distance = abs(self.value - than)
        if not self.known or not self.stderr:
            return np.nan if not self.known else float(distance == 0)
        return float(2 * t.sf(distance / self.stderr, self.freedom))

    def minimum(self) -> float:
        """Return the smallest distance from a threshold that would have been shown in `POWER` of repetitions."""
        from scipy.stats import t

        if not self.known or not self.stderr:
            return np.nan if not self.known else 0.0
        quantiles = t.ppf((1 + LEVEL) / 2, self.freedom) + t.ppf(POWER, self.freedom)
        return float(quantiles * self.stderr)


def paired(sides: Sequence[Mapping[Draw | None, T]]) -> dict[Draw | None, list[T]]:
    """Return the entries of all sides, draw by draw.

    A draw of one side is paired with the same draw of the others, since both read the same calibration. A side
    with the only key None, which no draw changes, is paired with every draw of the others. Resamples that only
    some sides have are left out.

    Raises:
        NotComparableError: the sides have different seeds.
    """
    drawn = [side for side in sides if None not in side]
    if not drawn:
        return {None: [side[None] for side in sides]}
    seeds = [sorted({draw.seed for draw in side if draw}) for side in drawn]
    if any(found != seeds[0] for found in seeds):
        shown = " and ".join(", ".join(map(str, found)) for found in dict.fromkeys(map(tuple, seeds)))
        raise NotComparableError(f"the two sides were measured on different draws (seeds {shown})")
    common = set.intersection(*({draw for draw in side if draw} for side in drawn))
    return {draw: [side[None] if None in side else side[draw] for side in sides] for draw in sorted(common)}


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of several sides' outcomes by draw and item: with weights 1 and -1, a difference."""

    tasks: Mapping[str, np.ndarray]
    """Task → float64 [seeds, items]; one row if no draw changes the sides."""
    resampled: Mapping[str, np.ndarray]
    """Task → float64 [seeds, resamples, items]; empty without resamples."""
    documents: Mapping[str, np.ndarray]
    """Task → the document of every item [items], for tasks whose items have one."""
    fixed: bool
    """Whether no draw changes the sides."""


def contrast(terms: Sequence[tuple[float, Outcomes]]) -> Contrast:
    """Return the weighted sum of several sides' outcomes; `paired` pairs their draws.

    Raises:
        NotComparableError: the sides have different seeds, or were measured on different tasks or items.
    """
    weights = [weight for weight, _ in terms]
    pairs = paired([outcomes for _, outcomes in terms])
    first = next(iter(pairs.values()))[0]
    for tasks in (tasks for sides in pairs.values() for tasks in sides):
        if tasks.keys() != first.keys():
            raise NotComparableError("the two sides were measured on different tasks")
        for task, outcomes in tasks.items():
            if not outcomes.index.equals(first[task].index):
                raise NotComparableError(f"the two sides were measured on different items of {task}")

    def rows(draws: Sequence[Draw | None], task: str) -> np.ndarray:
        stacked = ([side[task].to_numpy(np.float64) for side in pairs[draw]] for draw in draws)
        return np.array([weights @ np.array(sides) for sides in stacked])

    fixed = None in pairs
    seeds = [draw for draw in pairs if draw is None or not draw.resample]
    resamples = [draw for draw in pairs if draw is not None and draw.resample]
    documents = {
        task: items.index.get_level_values("document").to_numpy()
        for task, items in first.items()
        if "document" in items.index.names
    }
    # Only those that every seed has, so that none stands for another seed's; one alone has no spread.
    numbers = [{draw.resample for draw in resamples if draw.seed == seed.seed} for seed in seeds if seed]
    common = sorted(set.intersection(*numbers)) if numbers else []
    resamples = [Draw(seed.seed, number) for seed in seeds if seed for number in common if len(common) > 1]
    resampled = {task: rows(resamples, task).reshape(len(seeds), -1, len(first[task])) for task in first}
    return Contrast(
        {task: rows(seeds, task) for task in first}, resampled if resamples else {}, documents, fixed
    )


def estimate(effect: Contrast) -> Estimate:
    """Estimate the mean over tasks of the mean contrast, with an interval over draws and items together.

    The variance has two ways, draws × items (Searle, Casella and McCulloch, "Variance Components", 1992, chapter
    4; Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", 1946). Items of one
    document count as one, documents weigh by their number of items, and tasks are independent strata of equal
    weight with the same draws. The interval is Student's t. The variance over draws is that over resampled
    calibrations, pooled with that over several seeds; without resamples, fewer than `MIN_DRAWS` seeds have no
    interval. Nor has a task with a single item or document.

    Raises:
        ValueError: there is no task, a task has no item, or an outcome is not finite.
    """
    arrays = [*effect.tasks.values()]
    if not arrays or not all(array.size and np.isfinite(array).all() for array in arrays):
        raise ValueError("needs at least one task and at least one outcome per task, all finite")
    seeds, n = len(arrays[0]), sum(array.shape[1] for array in arrays)
    value = float(np.mean([array.mean() for array in arrays]))
    draws = 0 if effect.fixed else seeds
    spread, resamples = None, 0
    if effect.fixed:
        spread = _spread(effect, effect.tasks, seeds=1)
    elif effect.resampled:
        resamples = next(iter(effect.resampled.values())).shape[1]
        spread = _resampled_spread(effect, seeds, resamples)
    elif seeds >= MIN_DRAWS:
        spread = _spread(effect, effect.tasks, seeds)
    found = Estimate(value, n=n, draws=draws, resamples=resamples)
    return found.about(spread) if spread else found


def _spread(effect: Contrast, tasks: Mapping[str, np.ndarray], seeds: int) -> Spread | None:
    """Return the spread over draws and items of rows [seeds, items] by task; None if a task has one document."""
    by_task = [_deviations(array, effect.documents.get(task)) for task, array in tasks.items()]
    if any(rows.shape[-1] < 2 for rows in by_task):
        return None
    items = np.array([_scaled(rows) * (rows.mean(0) ** 2).sum() for rows in by_task]) / len(by_task) ** 2
    freedom = satterthwaite(items, [rows.shape[-1] - 1 for rows in by_task])
    if seeds == 1:
        return Spread(0.0, float(items.sum()), 0.0, np.inf, freedom)
    both = sum(_scaled(rows) * ((rows - rows.mean(0)) ** 2).sum() for rows in by_task)
    both = float(both) / (seeds * (seeds - 1) * len(by_task) ** 2)
    means = np.mean([array.mean(1) for array in tasks.values()], axis=0)
    draws = float(means.var(ddof=1)) / seeds
    return Spread(max(draws - both, 0.0), max(float(items.sum()) - both, 0.0), both, seeds - 1, freedom)


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
    freedom = seeds / (1 / (FOLDS - 1) + 1 / (resamples - 1))
    if seeds > 1 and (real := _spread(effect, effect.tasks, seeds)):
        draws = (freedom * draws + real.draws_freedom * real.draws) / (freedom + real.draws_freedom)
        freedom += real.draws_freedom
    return Spread(draws, max(alone.items - both, 0.0), both, freedom, alone.items_freedom)


def _deviations(array: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Return each document's share of the deviation from the mean [rows, documents], of outcomes [rows, items]."""
    shares = (array - array.mean(1, keepdims=True)) / array.shape[1]
    if documents is None:
        return shares
    codes = np.unique(documents, return_inverse=True)[1]
    return np.stack([np.bincount(codes, row) for row in shares])


def _scaled(rows: np.ndarray) -> float:
    """Return the factor G/(G-1) for G documents, as in `hfprune.evaluation.item_outcomes.mean_stderr`."""
    return rows.shape[-1] / (rows.shape[-1] - 1)


def satterthwaite(variances: np.ndarray, freedoms: Sequence[float]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances."""
    if not variances.any():
        return float(sum(freedoms))
    return float(variances.sum() ** 2 / (variances**2 / np.array(freedoms)).sum())


def multiples_to_decide(effect: Estimate, decided: Callable[[Estimate], bool]) -> tuple[int, int] | None:
    """Return how many times the draws and the items would decide an effect as large as the one found.

    More draws, more items or both, by the smallest product; None if a hundred times both would not do, or if the
    spread is unknown.

    Args:
        effect: the estimate that does not decide.
        decided: tells whether an estimate with a narrower interval does.
    """
    spread = effect.spread
    if spread is None:
        return None
    ways = [*((k, 1) for k in MULTIPLES), *((1, k) for k in MULTIPLES), *((k, k) for k in MULTIPLES)]
    narrower = ((way, effect.about(spread.with_more(*way))) for way in sorted(ways, key=np.prod))
    return next((way for way, found in narrower if decided(found)), None)
