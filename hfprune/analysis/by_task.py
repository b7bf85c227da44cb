"""The two sides of a claim task by task, with McNemar's test of right and wrong answers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hfprune.analysis.evidence import MeasuredSide
from hfprune.analysis.outcomes import paired
from hfprune.analysis.significance import mcnemar


class TaskRow(NamedTuple):
    """The two sides of a claim on one task with one seed: difference in points, and McNemar's test."""

    claim: str
    model: str
    ratio: float | None
    left: str
    right: str
    seed: int
    task: str
    n: int
    effect: float
    left_only: int | None
    right_only: int | None
    p_value: float


def by_task(
    claim: str, model: str, ratio: float | None, left: MeasuredSide, right: MeasuredSide
) -> Iterator[TaskRow]:
    """Yield the comparison of each task and seed; with McNemar's test if outcomes are right or wrong."""
    for draw, (ours, theirs) in paired([left.data, right.data]).items():
        for task in ours if not (draw and draw.resample) else ():
            a, b = ours[task].to_numpy(float), theirs[task].to_numpy(float)
            test = mcnemar(a, b) if np.isin([a, b], (0, 1)).all() else (None, None, np.nan)
            yield TaskRow(
                *(claim, model, ratio, left.name, right.name),
                seed=draw.seed if draw else 0,
                task=task,
                n=len(a),
                effect=100 * (a.mean() - b.mean()),
                left_only=test[0],
                right_only=test[1],
                p_value=test[2],
            )
