"""The luck of the draw: the spread of outcomes over calibrations, real ones and those resampled from one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.comparison import reference_of
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import LEVEL, RESAMPLING, Contrast, NotComparableError, contrast
from hfprune.scoring.folds import FOLDS
from hfprune.study.study import Study


class SpreadRow(NamedTuple):
    """The standard deviation of an outcome over draws of the calibration, on the same items.

    `against` is the reference if the outcome is a method's difference from it, or empty. `seeds_sd` is the
    standard deviation over the seeds' draws, `resamples_sd` that over resampled calibrations, the root mean
    square over the seeds, corrected for the number of folds. `quotient` is the first divided by the second, with
    its 95 % interval by the F distribution: a resampling that tells the luck of the draw has 1 inside.
    """

    model: str
    ratio: float
    method: str
    against: str
    effect: str
    seeds: int
    resamples: int
    seeds_sd: float
    resamples_sd: float
    quotient: float
    low: float
    high: float


def spreads(study: Study, name: str, folder: Path, tidy: Path) -> pd.DataFrame:
    """Return the spread over draws of every method's outcomes, and of its differences from the reference.

    Outcomes are those that compare two methods (`Declarations.effects`); of a ratio, the logarithm. Cells with one
    draw and no resamples have no row.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells.
        tidy: folder that `hfprune.analysis.collect.collect` wrote to.

    Returns:
        The columns of `SpreadRow`.

    Raises:
        HfpruneError: an existing result cannot be read. Missing results are left out.
    """
    evidence = Evidence(study, name, folder, tidy)
    rows = [
        row
        for model in study.models
        for ratio in study.ratios_of(model)
        for method in study.methods
        for row in _rows(evidence, study, model, ratio, method)
    ]
    return pd.DataFrame(rows, columns=SpreadRow._fields)


def _rows(evidence: Evidence, study: Study, model: str, ratio: float, method: str) -> Iterator[SpreadRow]:
    reference = reference_of(study, method)
    for against in ("", reference) if method != reference else ("",):
        sides = [evidence.cells_of(model, name, ratio) for name in (method, against) if name]
        for effect, declared in evidence.declared.effects().items():
            measured = declared.measure, declared.metric.name
            try:
                outcomes = [evidence.outcomes(cells, *measured) for cells in sides]
                found = contrast([*zip((1.0, -1.0), outcomes, strict=False)])
            except NotComparableError:
                continue
            if row := _spread(found, model, ratio, method, against, effect):
                yield row


def _spread(
    found: Contrast, model: str, ratio: float, method: str, against: str, effect: str
) -> SpreadRow | None:
    from scipy.stats import f

    means = np.mean([array.mean(-1) for array in found.tasks.values()], axis=0)
    seeds, resamples = len(means), 0
    real = float(means.std(ddof=1)) if seeds > 1 else np.nan
    luck = np.nan
    if found.resampled:
        again = np.mean([array.mean(-1) for array in found.resampled.values()], axis=0)
        resamples = again.shape[1]
        luck = float(np.sqrt(again.var(axis=1, ddof=1).mean() * RESAMPLING))
    if np.isnan([real, luck]).all():
        return None
    quotient = real / luck if luck else np.nan
    freedom = seeds - 1, seeds / (1 / (FOLDS - 1) + 1 / max(resamples - 1, 1))
    ends = np.sqrt(f.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], *freedom)) if seeds > 1 else (np.nan, np.nan)
    # F of the larger quotient bounds it from below.
    return SpreadRow(
        *(model, ratio, method, against, effect, seeds, resamples, real, luck),
        *(quotient, quotient / ends[1], quotient / ends[0]),
    )
