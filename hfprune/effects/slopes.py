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
from hfprune.statistics.outcomes import NotComparableError, Outcomes, contrast
from hfprune.statistics.spread import Spread, satterthwaite
from hfprune.study.calibration import Calibrated
from hfprune.study.reference import reference_of

Terms = Sequence[tuple[float, Outcomes]]


def slopes(evidence: Evidence) -> Iterator[EffectRow]:
    """Yield rows on methods whose calibrations have several sizes, without recovery.

    Of each outcome, the slope of the method's own (`against` is empty), and that of its effect against the
    reference: what ten times as many calibration sequences add, or, of a ratio, multiply.
    """
    whole = [outcome for outcome in ComparedBy.all_of(evidence) if outcome.tasks is None]
    by_calibration = groupby(
        comparisons(evidence, whole),
        lambda compared: (compared.model, compared.outcome, compared.ratio, compared.calibrated.calibration),
    )
    for _, group in by_calibration:
        by_size = {compared.calibrated.sequences: compared for compared in group}
        if len(by_size) > 1:
            yield from _of_calibration(by_size)


def _of_calibration(by_size: Mapping[int, Comparison]) -> Iterator[EffectRow]:
    first = next(iter(by_size.values()))
    study, calibration = first.evidence.study, first.calibrated.calibration
    samples = study.sizes_of(first.model, calibration)
    of_all_sizes = replace(first, calibrated=Calibrated(calibration, 0))
    for method in filter(study.reads, study.methods_of(first.model)):
        left: Side = method, Recovery.NONE
        right: Side = reference_of(study, method), Recovery.NONE
        asked: list[tuple[str, Side | None]] = [(OWN_SLOPE, None)]
        if right != left and study.reads(right[0]):
            asked.append((SLOPE, right))
        for question, other in asked:
            sides = {left, other} - {None}
            terms = {
                size: [(1.0, compared.sides[left])] + ([(-1.0, compared.sides[other])] if other else [])
                for size, compared in by_size.items()
                if sides <= compared.sides.keys()
            }
            if len(terms) > 1:
                with suppress(NotComparableError):
                    tenfold = slope(terms, {size: size * samples[size] for size in terms})
                    yield of_all_sizes.row(question, left, other, tenfold)


def slope(sides: Mapping[int, Terms], read: Mapping[int, int]) -> Estimate:
    """Estimate the slope of a weighted sum of outcomes over the logarithm to base 10 of the size.

    It is that of least squares through the means of the sizes, which count the same each: with as many disjoint
    samples as a calibration has, they are equally sure. Its variance over draws is that of the means, within each
    size over its samples, or resamples. Samples of a size are contained in those of larger ones: where scores are
    means over sequences, two means from the first n < m sequences of a calibration have the correlation √(n/m).
    Where this makes the slope less sure, it is counted in full; where it makes it surer, not at all.

    Args:
        sides: by size, the sum's weights and outcomes.
        read: by size, how many sequences all its samples of a draw have read.

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
    draws, resamples = sum(it.draws for it in estimates), max(it.resamples for it in estimates)
    alone = Estimate(whole.value, n=whole.n, draws=draws, resamples=resamples)
    spreads = [it.spread for it in estimates if it.spread]
    if whole.spread is None or len(spreads) < len(estimates):
        return alone
    first = np.array([read[size] for size in sizes])
    nested = np.sqrt(np.minimum.outer(first, first) / np.maximum.outer(first, first))
    products = np.maximum(np.outer(weights, weights), 0) * nested
    over_draws, both = (
        float(errors @ products @ errors)
        for errors in np.sqrt([[spread.draws for spread in spreads], [spread.both for spread in spreads]])
    )
    parts = weights**2 * [spread.draws for spread in spreads]
    return alone.about(
        Spread(
            draws=over_draws,
            items=max(whole.spread.items - both, 0.0),
            both=both,
            third=whole.spread.third,
            draws_dof=float(satterthwaite(parts, [spread.draws_dof for spread in spreads])),
            items_dof=whole.spread.items_dof,
        )
    )


def over_logarithm(sizes: Sequence[int]) -> np.ndarray:
    """Return the weights of sizes whose weighted sum is a least-squares slope: what ten times the size adds."""
    logarithms = np.log10(sizes)
    centred = logarithms - logarithms.mean()
    return centred / (centred**2).sum()


def _over_draws(outcomes: Outcomes) -> Outcomes:
    """Return the mean outcome of every item over draws, without their resamples."""
    drawn = [tasks for draw, tasks in outcomes.items() if draw is None or not draw.resample]
    return {None: {task: reduce(add, (tasks[task] for tasks in drawn)) / len(drawn) for task in drawn[0]}}
