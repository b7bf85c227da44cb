"""Outcomes per item of several cells, paired by draw and item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from hfprune.errors import HfpruneError

T = TypeVar("T")


class Draw(NamedTuple):
    """One sample of calibration sequences by its number, or a resample of its folds (0: the sample itself)."""

    number: int
    resample: int = 0


# Draw → task (or the one corpus) → outcome of each item, indexed by the item. The dense model, which no draw
# changes, has the only key None.
Outcomes = Mapping[Draw | None, Mapping[str, pd.Series]]
# An effect as a weighted sum of the outcomes of several sides.
Terms = Sequence[tuple[float, Outcomes]]


class NotComparableError(HfpruneError):
    """Says why two sides cannot be compared: they were not measured on the same draws, tasks or items."""


class NotMeasuredError(NotComparableError):
    """Says what was not measured."""


def paired(sides: Sequence[Mapping[Draw | None, T]]) -> dict[Draw | None, list[T]]:
    """Return the entries of all sides, draw by draw.

    A draw of one side is paired with the same draw of the others, since all read the same calibration. A side
    that no draw changes, whose only key is None, is paired with every draw of the others. Resamples that only some
    sides have are left out.

    Raises:
        NotComparableError: the sides have different draws.
    """
    drawn = [side for side in sides if None not in side]
    if not drawn:
        return {None: [side[None] for side in sides]}
    numbers = [sorted({draw.number for draw in side if draw}) for side in drawn]
    if any(draws != numbers[0] for draws in numbers):
        shown = " and ".join(", ".join(map(str, draws)) for draws in dict.fromkeys(map(tuple, numbers)))
        raise NotComparableError(f"the two sides were measured on different draws ({shown})")
    common = set.intersection(*({draw for draw in side if draw} for side in drawn))
    return {draw: [side[None] if None in side else side[draw] for side in sides] for draw in sorted(common)}


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of several sides' outcomes by draw and item: with weights 1 and -1, a difference."""

    tasks: Mapping[str, np.ndarray]
    """Task → float64 [draws, items]; one row if no draw changes the sides."""
    resampled: Mapping[str, np.ndarray]
    """Task → float64 [draws, resamples, items]; empty without resamples."""
    documents: Mapping[str, np.ndarray]
    """Task → the document of every item [items], for tasks whose items have one."""
    fixed: bool
    """Whether no draw changes the sides."""
    accuracies: frozenset[str] = frozenset()
    """Tasks whose contrast is a difference of two sides that answer each question right (1) or wrong (0)."""


def contrast(terms: Terms) -> Contrast:
    """Return the weighted sum of several sides' outcomes, given as (weight, outcomes); `paired` pairs their draws.

    Raises:
        NotComparableError: the sides have different draws, or were measured on different tasks or items.
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

    def right_or_wrong(task: str) -> bool:
        return all(np.isin(side[task], (0, 1)).all() for sides in pairs.values() for side in sides)

    samples = [draw for draw in pairs if draw is None or not draw.resample]
    # Only resamples that every draw has, so that none stands for another draw's; a single one has no spread.
    numbers = [
        {draw.resample for draw in pairs if draw and draw.number == sample.number}
        for sample in samples
        if sample
    ]
    common = sorted(set.intersection(*numbers) - {0}) if numbers else []
    if len(common) < 2:
        common = []
    resamples = [Draw(sample.number, resample) for sample in samples if sample for resample in common]
    documents = {
        task: items.index.get_level_values("document").to_numpy()
        for task, items in first.items()
        if "document" in items.index.names
    }
    return Contrast(
        tasks={task: rows(samples, task) for task in first},
        resampled={
            task: rows(resamples, task).reshape(len(samples), -1, len(items))
            for task, items in first.items()
            if resamples
        },
        documents=documents,
        fixed=None in pairs,
        accuracies=frozenset(
            task
            for task in first
            if sorted(weights) == [-1, 1] and task not in documents and right_or_wrong(task)
        ),
    )
