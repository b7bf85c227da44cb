"""Variation between calibration samples: of outcomes, over seeds and over resampled calibrations."""

from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.effects import measured
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.kept_neurons import OF_PAIR
from hfprune.analysis.outcomes import Contrast, NotComparableError, contrast
from hfprune.analysis.reference import reference_of
from hfprune.analysis.spread import RESAMPLING, resampling_dof
from hfprune.analysis.statistics import LEVEL
from hfprune.analysis.tidy import NEURONS, read_csv
from hfprune.calibration.folds import MIN_DRAWS
from hfprune.results import DENSE


class DrawsRow(NamedTuple):
    """How an outcome varies over draws of the calibration, on the same items.

    `against` is the reference if the outcome is a method's difference from it, or empty. `value` is the mean over
    draws; `low` and `high` are the ends of its 95 % interval over them alone. `again` is the standard deviation
    of what changes when another sample takes the place of one: of the method's effect against itself. `overlap`
    is the Jaccard index of the kept neurons: of the method with itself on another sample, or with the reference
    on the same. `seeds_sd` is the standard deviation over the seeds' draws, `resamples_sd` that over resampled
    calibrations, the root mean square over the seeds, corrected for the number of folds. `quotient` is the first
    divided by the second, with its 95 % interval by the F distribution: a resampling that tells what another draw
    would change has 1 inside.
    """

    model: str
    ratio: float
    method: str
    against: str
    outcome: str
    value: float
    low: float
    high: float
    again: float
    overlap: float
    seeds: int
    resamples: int
    seeds_sd: float
    resamples_sd: float
    quotient: float
    quotient_low: float
    quotient_high: float


def over_draws(evidence: Evidence) -> pd.DataFrame:
    """Return how every method's outcomes vary over draws, and its differences from the reference.

    Outcomes are the first of each measure that compare two cells (`Declarations.first_outcomes`); of a ratio, the
    logarithm.
    """
    rows, overlaps = [], _overlaps(evidence.folder / NEURONS)
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
                            pair = model, ratio, method, against or method
                            rows.append(of | found | {"overlap": overlaps.get(pair, np.nan)})
    return pd.DataFrame(rows, columns=DrawsRow._fields)


def _overlaps(path: Path) -> dict[tuple[Any, ...], float]:
    """Return the mean overlap of a method with its reference, or with itself, by model, ratio and both names."""
    if not path.exists():
        return {}
    rows = read_csv(path, *OF_PAIR, "overlap")
    return rows.groupby(["model", "ratio", "method", "reference"])["overlap"].mean().to_dict()


def _over_draws(found: Contrast) -> dict[str, Any]:
    from scipy.stats import f, t

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
    # Both estimate the variance of one draw, and are pooled by their degrees of freedom.
    each = (real, seeds - 1.0), (resampled, resampling_dof(seeds, resamples))
    sds, dofs = np.array([pair for pair in each if not np.isnan(pair[0])]).T
    dof, variance = dofs.sum(), sds**2 @ dofs / dofs.sum()
    known = resamples or seeds >= MIN_DRAWS
    half = float(t.ppf(levels[1], dof)) * np.sqrt(variance / seeds) if known else np.nan
    return {
        "value": float(means.mean()),
        "low": float(means.mean() - half),
        "high": float(means.mean() + half),
        "again": float(np.sqrt(2 * variance)),
        "seeds": seeds,
        "resamples": resamples,
        "seeds_sd": real,
        "resamples_sd": resampled,
        "quotient": quotient,
        # F of the larger quotient bounds it from below.
        "quotient_low": quotient / ends[1],
        "quotient_high": quotient / ends[0],
    }
