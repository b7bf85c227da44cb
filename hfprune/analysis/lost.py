"""What each pruned model has lost against its dense model, task by task: which capability goes first."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import NotComparableError, contrast, estimate
from hfprune.results import DENSE, Cell
from hfprune.study.study import Study


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


def lost(study: Study, name: str, folder: Path, tidy: Path) -> pd.DataFrame:
    """Compare every pruned model of a study with its dense model, on each task of each measure with items.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        tidy: folder that `hfprune.analysis.collect.collect` wrote to.

    Returns:
        The columns of `LostRow`.

    Raises:
        HfpruneError: an existing result cannot be read. Missing results are left out.
    """
    evidence = Evidence(study, name, folder, tidy)
    rows = [
        row
        for model in study.models
        for ratio in study.ratios_of(model)
        for method in study.methods_of(model)
        if (model, method, ratio) not in evidence.not_applicable
        for declared in evidence.declared.effects().values()
        for row in _rows(evidence, declared, model, method, ratio)
    ]
    return pd.DataFrame(rows, columns=LostRow._fields)


def _rows(
    evidence: Evidence, declared: Declaration, model: str, method: str, ratio: float
) -> Iterator[LostRow]:
    (dense,) = evidence.cells_of(model, DENSE, 0.0)
    pruned = evidence.cells_of(model, method, ratio)
    for task in evidence.tasks(declared.measure):
        try:
            yield _row(evidence, declared, task, pruned, dense)
        except NotComparableError:
            continue


def _row(evidence: Evidence, declared: Declaration, task: str, pruned: list[Cell], dense: Cell) -> LostRow:
    metric = declared.metric
    before, after = (
        evidence.outcomes(cells, declared.measure, metric.name, [task]) for cells in ([dense], pruned)
    )
    difference = contrast([(1.0, after), (-1.0, before)])
    found, covers = estimate(difference), "draws and items"
    if not found.known:
        found, covers = estimate(replace(difference, fixed=True)), "items"
    shown = np.exp if metric.effect == "ratio" else lambda x: metric.scale * x
    level = float(np.mean([items.mean() for items in before[None].values()]))
    change, low, high = (float(shown(x)) for x in (found.value, found.low, found.high))
    cell, measured = pruned[0], (declared.measure, task, metric.name, float(shown(level)))
    return LostRow(cell.model, cell.ratio or 0.0, cell.method, *measured, change, low, high, found.n, covers)
