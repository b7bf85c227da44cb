"""Variation between calibration samples: of outcomes, over seeds and over resampled calibrations."""

from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.effects import measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import Contrast, NotComparableError, contrast
from hfprune.analysis.reference import reference_of
from hfprune.analysis.spread import RESAMPLING, resampling_dof
from hfprune.analysis.statistics import LEVEL
from hfprune.results import DENSE


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
    outcome: str
    seeds: int
    resamples: int
    seeds_sd: float
    resamples_sd: float
    quotient: float
    low: float
    high: float


def over_draws(evidence: Evidence) -> pd.DataFrame:
    """Return how every method's outcomes vary over draws, and its differences from the reference.

    Outcomes are the first of each measure that compare two cells (`Declarations.first_outcomes`); of a ratio, the
    logarithm.
    """
    rows = []
    for model, (outcome, declared) in product(evidence.models, evidence.declared.first_outcomes().items()):
        for ratio in evidence.study.ratios_of(model):
            cells = measured(evidence, declared, model, ratio)
            plain = {method: found for (method, recovery), found in cells.items() if recovery == "none"}
            for method in [method for method in plain if method != DENSE]:
                reference = reference_of(evidence.study, method)
                sides = {"": [plain[method]]}
                if reference in plain and reference != method:
                    sides[reference] = [plain[method], plain[reference]]
                for against, outcomes in sides.items():
                    with suppress(NotComparableError):
                        difference = contrast([*zip((1.0, -1.0), outcomes, strict=False)])
                        if found := _over_draws(difference):
                            of = dict(
                                zip(DrawsRow._fields, (model, ratio, method, against, outcome), strict=False)
                            )
                            rows.append(of | found)
    return pd.DataFrame(rows, columns=DrawsRow._fields)


def _over_draws(found: Contrast) -> dict[str, Any]:
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
