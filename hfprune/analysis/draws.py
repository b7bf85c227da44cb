"""Variation between calibration samples: of outcomes over real draws, and over those resampled from one."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Contrast
from hfprune.analysis.reference import reference_of
from hfprune.analysis.statistics import LEVEL, RESAMPLING, resampling_dof


class DrawsRow(NamedTuple):
    """The standard deviation of an outcome over draws of the calibration, on the same items.

    `against` is the reference if the outcome is a method's difference from it, or empty. `seeds_sd` is the
    standard deviation over the seeds' draws, `resamples_sd` that over resampled calibrations, the root mean
    square over the seeds, corrected for the number of folds. `quotient` is the first divided by the second, with
    its 95 % interval by the F distribution: a resampling that tells what another draw would change has 1 inside.
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


def spreads(evidence: Evidence) -> pd.DataFrame:
    """Return the spread over draws of every method's outcomes, and of its differences from the reference.

    Outcomes are those that compare two methods (`Declarations.effects`); of a ratio, the logarithm.

    Returns:
        The columns of `DrawsRow`. Cells with one draw and no resamples have no row, nor have missing results.
    """
    rows = []
    for methods in evidence.by_method():
        for method, cells in methods.items():
            reference = reference_of(evidence.study, method)
            others = [reference] if reference in methods and reference != method else []
            for against in ("", *others):
                theirs = [methods[against]] if against else []
                for effect, _, difference in evidence.differences(cells, *theirs):
                    of = {"model": cells[0].model, "ratio": cells[0].ratio, "method": method}
                    of |= {"against": against, "effect": effect}
                    if found := _spread(difference):
                        rows.append(of | found)
    return pd.DataFrame(rows, columns=DrawsRow._fields)


def _spread(found: Contrast) -> dict[str, Any]:
    from scipy.stats import f

    means = np.mean([array.mean(-1) for array in found.tasks.values()], axis=0)
    seeds, resamples = len(means), 0
    real = float(means.std(ddof=1)) if seeds > 1 else np.nan
    resampled = np.nan
    if found.resampled:
        again = np.mean([array.mean(-1) for array in found.resampled.values()], axis=0)
        resamples = again.shape[1]
        resampled = float(np.sqrt(again.var(axis=1, ddof=1).mean() * RESAMPLING))
    if np.isnan([real, resampled]).all():
        return {}
    quotient = real / resampled if resampled else np.nan
    levels = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    ends = np.sqrt(f.ppf(levels, seeds - 1, resampling_dof(seeds, resamples))) if seeds > 1 else [np.nan] * 2
    return {
        "seeds": seeds,
        "resamples": resamples,
        "seeds_sd": real,
        "resamples_sd": resampled,
        "quotient": quotient,
        # F of the larger quotient bounds it from below.
        "low": quotient / ends[1],
        "high": quotient / ends[0],
    }
