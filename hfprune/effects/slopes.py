"""How outcomes change with the size of the calibration: slopes over its logarithm, from samples of every size."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from itertools import groupby
from operator import add

import numpy as np

from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons
from hfprune.effects.questions import OWN_SLOPE, SLOPE, Side
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import NotComparableError, Outcomes, Terms, contrast
from hfprune.statistics.spread import Spread, satterthwaite
from hfprune.study.calibration import Calibrated
from hfprune.study.reference import reference_of


def slopes(evidence: Evidence) -> Iterator[EffectRow]:
    """Yield rows on methods whose calibrations have several sizes, without recovery.

    Each outcome has the slope of the method's own number (`against` is empty), and that of its effect against the
    reference: what ten times as many calibration sequences add or, for a ratio, multiply by.
    """
    whole = [outcome for outcome in ComparedBy.all_of(evidence) if outcome.tasks is None]
    by_calibration = groupby(
        comparisons(evidence, whole),
        lambda compared: (compared.model, compared.outcome, compared.ratio, compared.calibrated.calibration),
    )
    for _, group in by_calibration:
        by_size = {compared.calibrated.sequences: compared for compared in group}
        if len(by_size) > 1:
            yield from _calibration_rows(by_size)


def _calibration_rows(by_size: Mapping[int, Comparison]) -> Iterator[EffectRow]:
    first = next(iter(by_size.values()))
    study, calibration = first.evidence.study, first.calibrated.calibration
    samples = study.calibrations[calibration].sizes
    all_sizes = replace(first, calibrated=Calibrated(calibration, 0))
    for method in filter(study.reads, study.methods_of(first.model)):
        left: Side = method, Recovery.NONE
        right: Side = reference_of(study, method), Recovery.NONE
        asked: list[tuple[str, Side | None]] = [(OWN_SLOPE, None)]
        if right != left and study.reads(right[0]):
            asked.append((SLOPE, right))
        for question, other in asked:
            signs = {left: 1.0} if other is None else {left: 1.0, other: -1.0}
            terms = {
                size: [(sign, compared.sides[side]) for side, sign in signs.items()]
                for size, compared in by_size.items()
                if signs.keys() <= compared.sides.keys()
            }
            if len(terms) > 1:
                with suppress(NotComparableError):
                    tenfold = slope(terms, {size: size * samples[size] for size in terms})
                    yield all_sizes.row(question, left, other, tenfold)


def slope(sides: Mapping[int, Terms], read: Mapping[int, int]) -> Estimate:
    """Estimate the slope of a weighted sum of outcomes over the logarithm to base 10 of the size.

    The slope is that of least squares through the means of the sizes, which have equal weights: with as many
    disjoint samples as a calibration has, they are equally certain. The variance over draws is that of the means,
    within each size over its samples or resamples. Samples of a size are contained in those of larger ones: where
    scores are means over sequences, two means from the first n < m sequences of a calibration have the correlation
    √(n/m). The correlation is counted in full where it makes the slope less certain, and not at all where it makes
    the slope more certain.

    Args:
        sides: by size, the weights and outcomes of the sum.
        read: by size, how many sequences all samples of a draw have read.

    Raises:
        NotComparableError: sides or sizes were measured on different draws, tasks or items.
    """
    sizes = sorted(sides)
    weights = over_logarithm(sizes)
    estimates = [estimate(contrast(sides[size])) for size in sizes]
    terms = [
        (weight * sign, _over_draws(outcomes))
        for weight, size in zip(weights.tolist(), sizes, strict=True)
        for sign, outcomes in sides[size]
    ]
    whole = estimate(contrast(terms))
    draws, resamples = sum(term.draws for term in estimates), max(term.resamples for term in estimates)
    alone = Estimate(whole.value, n=whole.n, draws=draws, resamples=resamples)
    spreads = [term.spread for term in estimates if term.spread]
    if whole.spread is None or len(spreads) < len(estimates):
        return alone
    first = np.array([read[size] for size in sizes])
    nested = np.sqrt(np.minimum.outer(first, first) / np.maximum.outer(first, first))
    products = np.maximum(np.outer(weights, weights), 0) * nested
    over_draws, rest = (
        float(errors @ products @ errors)
        for errors in np.sqrt([(spread.draws, spread.interaction) for spread in spreads]).T
    )
    parts = weights**2 * [spread.draws for spread in spreads]
    return alone.about(
        Spread(
            draws=over_draws,
            items=max(whole.spread.items - rest, 0.0),
            interaction=rest,
            third=whole.spread.third,
            draws_dof=float(satterthwaite(parts, [spread.draws_dof for spread in spreads])),
            items_dof=whole.spread.items_dof,
        )
    )


def over_logarithm(sizes: Sequence[int]) -> np.ndarray:
    """Return the weights by which numbers of these sizes sum to a least-squares slope per tenfold size."""
    logarithms = np.log10(sizes)
    centred = logarithms - logarithms.mean()
    return centred / (centred**2).sum()


def _over_draws(outcomes: Outcomes) -> Outcomes:
    """Return the mean outcome of every item over draws, without their resamples."""
    drawn = [tasks for draw, tasks in outcomes.items() if draw is None or not draw.resample]
    return {None: {task: reduce(add, (tasks[task] for tasks in drawn)) / len(drawn) for task in drawn[0]}}
