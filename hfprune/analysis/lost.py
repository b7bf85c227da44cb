"""What each pruned model has lost against its dense model, task by task: which capability goes first."""

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError
from hfprune.analysis.statistics import estimate
from hfprune.results import DENSE, Cell


class LostRow(NamedTuple):
    """The change of one outcome of one task by pruning, without recovery, on the same items.

    `dense` is the dense model's outcome in the units shown to readers. `change` is the pruned model's minus that,
    or, if the metric is compared by ratios, the one divided by the other; `low` and `high` are the ends of its
    95 % interval. `covers` says what the interval stands for: other items alone, for this plan, where one draw of
    the calibration was measured without resamples, and else other draws as well.
    """

    model: str
    ratio: float
    method: str
    measure: str
    task: str
    metric: str
    dense: float
    change: float
    low: float
    high: float
    n: int
    covers: str


def lost(evidence: Evidence) -> pd.DataFrame:
    """Compare every pruned model of a study with its dense model, on each task of each measure with items.

    Returns:
        The columns of `LostRow`. Missing results are left out.
    """
    rows = []
    cells = [pruned for methods in evidence.by_method() for pruned in methods.values()]
    for pruned, declared in product(cells, evidence.effects.values()):
        for task in evidence.tasks(declared.measure):
            with suppress(NotComparableError):
                rows.append(_row(evidence, declared, task, pruned))
    return pd.DataFrame(rows, columns=LostRow._fields)


def _row(evidence: Evidence, declared: Declaration, task: str, pruned: list[Cell]) -> LostRow:
    cell, dense = pruned[0], evidence.cells_of(pruned[0].model, DENSE, 0.0)
    before = evidence.outcomes(dense, declared.measure, declared.metric.name, [task])
    difference = evidence.difference(declared, pruned, dense, tasks=[task])
    found, covers = estimate(difference), "draws and items"
    if found.spread is None:
        found, covers = estimate(replace(difference, fixed=True)), "items"
    return LostRow(
        model=cell.model,
        ratio=cell.ratio or 0.0,
        method=cell.method,
        measure=declared.measure,
        task=task,
        metric=declared.metric.name,
        dense=declared.shown(float(np.mean([items.mean() for items in before[None].values()]))),
        change=declared.shown(found.value),
        low=declared.shown(found.low),
        high=declared.shown(found.high),
        n=found.n,
        covers=covers,
    )
