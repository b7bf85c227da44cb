"""Sizes: the numbers of sequences that scores have read, all of them in one pass over the calibration."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, PositiveInt

from hfprune.calibration.folds import MIN_DRAWS


def _numbers(given: Any) -> Any:
    """Read sizes without the numbers of their samples as a mapping from size to `None`."""
    given = [given] if isinstance(given, int) else given
    return dict.fromkeys(given) if isinstance(given, list) else given


# Size → the most samples of it; None: as many as the calibration has.
Sizes = Annotated[dict[PositiveInt, PositiveInt | None], BeforeValidator(_numbers)]


def samples_of(size: int, count: int) -> list[range]:
    """Return the first `count` disjoint samples of a size, as ranges of sequences that follow on each other."""
    return [range(number * size, (number + 1) * size) for number in range(count)]


def most_open(samples: Iterable[range]) -> int:
    """Return how many samples a pass from the first sequence on is within at a time, at most."""
    every = {*samples}
    return max((sum(first.start in each for each in every) for first in every), default=1)


def resamples_of(count: int, resamples: int) -> int:
    """Return how often a sample is resampled: not at all where so many samples of its size tell the spread."""
    return resamples if count < MIN_DRAWS else 0
