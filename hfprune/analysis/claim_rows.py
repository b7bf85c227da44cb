"""The rows of `claims.csv` and `claim_tasks.csv`."""

from typing import NamedTuple

import numpy as np

from hfprune.analysis.condition import NOT_RUN


class ClaimRow(NamedTuple):
    """A claim on one model at one ratio: the two sides, our effect and verdict, and the published effect.

    `basis` is `measured`, or `arithmetic` if the budget decides the outcome. `draws` counts the seeds, and
    `resamples` the resampled calibrations that the spread over draws is from. `minimum_detectable_effect` is the
    smallest distance from `threshold` that this study would have shown in 80 % of repetitions, for ratios a
    factor; `needs` is what would decide an inconclusive comparison, if the effect is as large as found.
    `compares` and `condition` are the claim in words: the effect, and when the claim holds.
    """

    claim: str
    model: str
    kind: str
    ratio: float | None
    metric: str
    left: str = ""
    right: str = ""
    unit: str = ""
    relation: str = ""
    threshold: float = np.nan
    margin: float = np.nan
    basis: str = "measured"
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    draws: int = 0
    resamples: int = 0
    minimum_detectable_effect: float = np.nan
    needs: str = ""
    published: float = np.nan
    confidence: str = ""
    verdict: str = NOT_RUN
    anomalies: str = ""
    note: str = ""
    sentence: str = ""
    where: str = ""
    compares: str = ""
    condition: str = ""


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
