"""Sizes: numbers of calibration sequences for scores; one pass over the calibration serves all of them."""

from collections.abc import Iterable

from hfprune.calibration.folds import MIN_DRAWS


def samples_of(size: int, count: int) -> list[range]:
    """Return the first `count` disjoint samples of a size, as consecutive ranges of sequences."""
    return [range(number * size, (number + 1) * size) for number in range(count)]


def most_open(samples: Iterable[range]) -> int:
    """Return the largest number of samples that overlap at any sequence; 1 without samples."""
    ranges = {*samples}
    return max((sum(first.start in other for other in ranges) for first in ranges), default=1)


def resamples_of(count: int, resamples: int) -> int:
    """Return how often a sample is resampled: never if `count` samples of its size already tell the spread."""
    return resamples if count < MIN_DRAWS else 0
