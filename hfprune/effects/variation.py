"""Variation between calibration samples: of outcomes, over draws and over resampled calibrations."""

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import ComparedBy, comparisons
from hfprune.results.effect import Effect
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import LEVEL
from hfprune.statistics.outcomes import Contrast, NotComparableError, contrast
from hfprune.statistics.spread import RESAMPLING, resampling_dof
from hfprune.study.reference import reference_of


class DrawsRow(NamedTuple):
    """How an outcome varies over draws of the calibration, on the same items.

    `against` is the reference if the outcome is a method's difference from it, or empty. `value` is the mean over
    draws; `low` and `high` are the ends of its 95 % interval over draws alone. `again` is the standard deviation
    of the change when another sample replaces one, as of the method's effect against itself. `overlap` is the
    Jaccard index of the kept neurons: of the method with itself on another sample, or with the reference on the
    same one. `draws_sd` is the standard deviation over draws; `resamples_sd` is that over resampled calibrations,
    the root mean square over the draws, corrected for the number of folds: see `quotients`.
    """

    model: str
    calibration: str
    sequences: int
    ratio: float
    method: str
    against: str
    outcome: str
    value: float
    low: float
    high: float
    again: float
    overlap: float
    draws: int
    resamples: int
    draws_sd: float
    resamples_sd: float


def over_draws(evidence: Evidence) -> pd.DataFrame:
    """Return how every method's outcomes vary over draws, and its differences from the reference.

    Outcomes are the first of each measure that compare two cells (`Declarations.first_outcomes`); ratios are
    logarithms.
    """
    overlaps = _overlaps(evidence.results.neurons)
    rows: list[DrawsRow] = []
    for compared in comparisons(evidence, ComparedBy.first_of(evidence)):
        plain = [method for method, recovery in compared.sides if recovery is Recovery.NONE]
        for method in plain:
            reference = reference_of(evidence.study, method)
            references = [reference] if reference in plain and reference != method else []
            for against in ["", *references] if method != DENSE else ():
                sides = [compared.sides[name, Recovery.NONE] for name in (method, against) if name]
                with suppress(NotComparableError):
                    difference = contrast([*zip((1.0, -1.0), sides, strict=False)])
                    if spread := _over_draws(difference):
                        at = (compared.model, *compared.calibrated, compared.ratio, method)
                        overlap = overlaps.get((*at, against or method), np.nan)
                        rows.append(DrawsRow(*at, against, compared.outcome.name, overlap=overlap, **spread))
    return pd.DataFrame(rows, columns=DrawsRow._fields)


def quotients(rows: pd.DataFrame) -> list[Effect]:
    """Return the standard deviations over draws divided by those over resamples, from rows of `over_draws`.

    Their 95 % intervals are from the F distribution: if resampling tells what another draw would change, the
    interval contains 1.
    """
    from scipy.stats import f

    effects = []
    for row in rows.itertuples():
        value = row.draws_sd / row.resamples_sd if row.resamples_sd else np.nan
        levels = [(1 + LEVEL) / 2, (1 - LEVEL) / 2]  # F of the larger quotient bounds it from below
        ends = np.sqrt(f.ppf(levels, row.draws - 1, resampling_dof(row.draws, row.resamples)))
        low, high = map(float, value / ends)
        effects.append(Effect(value, low, high, "{:.2f}", neutral=1, ratio=True))
    return effects


def _overlaps(rows: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """Return the mean overlap of a method with its reference or itself, by coordinates and both names."""
    by = ["model", "calibration", "sequences", "ratio", "method", "reference"]
    return rows.groupby(by)["overlap"].mean().to_dict()


def _over_draws(outcome: Contrast) -> dict[str, Any]:
    from scipy.stats import t

    means = np.mean([array.mean(-1) for array in outcome.tasks.values()], axis=0)
    draws, resamples = len(means), 0
    real = float(means.std(ddof=1)) if draws > 1 else np.nan
    resampled = np.nan
    if outcome.resampled:
        again = np.mean([array.mean(-1) for array in outcome.resampled.values()], axis=0)
        resamples = again.shape[1]
        resampled = float(np.sqrt(again.var(axis=1, ddof=1).mean() * RESAMPLING))
    if np.isnan([real, resampled]).all():
        return {}
    # Both estimate the variance of one draw, and are pooled by their degrees of freedom.
    estimates = (real, draws - 1.0), (resampled, resampling_dof(draws, resamples))
    sds, dofs = np.array([pair for pair in estimates if not np.isnan(pair[0])]).T
    dof, variance = dofs.sum(), sds**2 @ dofs / dofs.sum()
    half = np.nan
    if resamples or draws >= MIN_DRAWS:
        half = float(t.ppf((1 + LEVEL) / 2, dof)) * np.sqrt(variance / draws)
    return {
        "value": float(means.mean()),
        "low": float(means.mean() - half),
        "high": float(means.mean() + half),
        "again": float(np.sqrt(2 * variance)),
        "draws": draws,
        "resamples": resamples,
        "draws_sd": real,
        "resamples_sd": resampled,
    }
