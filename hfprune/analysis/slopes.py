"""How outcomes change with the size of the calibration: slopes over its logarithm, from samples of every size."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from itertools import product
from operator import add

import numpy as np

from hfprune.analysis.effect_rows import BOTH, EffectRow
from hfprune.analysis.effects import ComparedBy, measured, row_of
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.questions import OWN_SLOPE, SLOPE, Question, Side
from hfprune.analysis.reference import reference_of
from hfprune.analysis.spread import Spread, satterthwaite
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.calibration.sizes import sized
from hfprune.study.curves import curves
from hfprune.study.study import Study

Terms = Sequence[tuple[float, Outcomes]]
NOTHING: Side = ("", "")


def slopes(evidence: Evidence) -> Iterator[EffectRow]:
    """Yield rows on methods of several sizes, without recovery, named without their sizes.

    Of each outcome, the slope of the method's own (`against` is empty), and that of its effect against the
    reference: what ten times as many calibration sequences add, or, of a ratio, multiply.
    """
    for model, by in product(evidence.models, ComparedBy.all_of(evidence)):
        for ratio in evidence.study.ratios_of(model) if by.tasks is None else ():
            cells = measured(evidence, by.declared, model, ratio)
            samples = evidence.study.sizes_of(model)
            for asked, sides in _asked(evidence.study, cells):
                with suppress(NotComparableError):
                    it = slope(sides, {size: size * samples[size] for size in sides})
                    yield row_of(evidence, asked, model, ratio, by, it, BOTH if it.known else "")


def _asked(study: Study, cells: Mapping[Side, Outcomes]) -> Iterator[tuple[Question, dict[int, Terms]]]:
    found = {
        base: {size: cells[name, "none"] for size, name in of_size.items() if (name, "none") in cells}
        for base, of_size in curves(study.methods, study.calibration.sizes).items()
    }
    for base, of_size in found.items():
        side = base, "none"
        if len(of_size) > 1:
            own: dict[int, Terms] = {size: [(1.0, outcomes)] for size, outcomes in of_size.items()}
            yield Question(OWN_SLOPE, side, NOTHING), own
        beside = {reference_of(study, sized(base, size)).removesuffix(sized("", size)) for size in of_size}
        for other in sorted(beside & found.keys() - {base}):
            both: dict[int, Terms] = {
                size: [(1.0, of_size[size]), (-1.0, found[other][size])]
                for size in of_size.keys() & found[other].keys()
            }
            if len(both) > 1:
                yield Question(SLOPE, side, (other, "none")), both


def slope(sides: Mapping[int, Terms], read: Mapping[int, int]) -> Estimate:
    """Estimate the slope of a weighted sum of outcomes over the logarithm to base 10 of the size.

    It is that of least squares through the means of the sizes, which count the same each: with as many disjoint
    samples as a calibration has, they are equally sure. Its variance over draws is that of the means, within each
    size over its samples, or resamples. Samples of a size are contained in those of larger ones: where scores are
    means over sequences, two means from the first n < m sequences of a calibration have the correlation √(n/m).
    Where this makes the slope less sure, it is counted in full; where it makes it surer, not at all.

    Args:
        sides: by size, the sum's weights and outcomes.
        read: by size, how many sequences all its samples under a seed have read.

    Raises:
        NotComparableError: sides or sizes were measured on different draws, tasks or items.
    """
    sizes = sorted(sides)
    weights = over_logarithm(sizes)
    each = [estimate(contrast(sides[size])) for size in sizes]
    terms = [
        (weight * sign, _over_draws(outcomes))
        for weight, size in zip(weights.tolist(), sizes, strict=True)
        for sign, outcomes in sides[size]
    ]
    whole = estimate(contrast(terms))
    draws, resamples = sum(one.draws for one in each), max(one.resamples for one in each)
    alone = Estimate(whole.value, n=whole.n, draws=draws, resamples=resamples)
    spreads = [one.spread for one in each if one.spread]
    if whole.spread is None or len(spreads) < len(each):
        return alone
    first = np.array([read[size] for size in sizes])
    nested = np.sqrt(np.minimum.outer(first, first) / np.maximum.outer(first, first))
    products = np.maximum(np.outer(weights, weights), 0) * nested
    over_draws, both = (
        float(errors @ products @ errors)
        for errors in np.sqrt([[one.draws for one in spreads], [one.both for one in spreads]])
    )
    parts = weights**2 * [one.draws for one in spreads]
    return alone.about(
        Spread(
            draws=over_draws,
            items=max(whole.spread.items - both, 0.0),
            both=both,
            third=whole.spread.third,
            draws_dof=float(satterthwaite(parts, [one.draws_dof for one in spreads])),
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
