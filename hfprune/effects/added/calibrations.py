"""What the text of the calibration changes: each method on one text less methods on the study's first text."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby

from hfprune.cells import DENSE
from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import NotComparableError, contrast
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import reference_of


class Calibrations(AddedEffects):
    """A method on one calibration less itself and less its reference on the first.

    Both are from as many sequences, or the first is from the most that it is scored on.
    """

    question = "calibration"
    needs = "calibrations"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield two rows per method, recovery, calibration but the first, and first outcome or task of a measure.

        The other side is the method itself on the first calibration, or the reference there. The effects of every
        study are between methods on one calibration; these compare every method on every calibration with the
        reference on the first.
        """
        first, *_ = evidence.study.calibrations
        most = evidence.study.largest(first)
        wholes = ComparedBy.first_of(evidence)
        outcomes = [part for whole in wholes for part in (whole, *whole.by_task(evidence))]
        by_place = groupby(
            comparisons(evidence, outcomes),
            lambda compared: (compared.model, compared.outcome, compared.ratio),
        )
        for _, group in by_place:
            by_calibration = {compared.calibrated: compared for compared in group}
            for calibrated, compared in by_calibration.items():
                other = by_calibration.get(calibrated._replace(calibration=first), by_calibration.get(most))
                if calibrated.calibration != first and other is not None:
                    yield from _rows(compared, other)


def _rows(compared: Comparison, other: Comparison) -> Iterator[EffectRow]:
    for method, recovery in compared.sides:
        if method == DENSE:
            continue
        reference = reference_of(compared.evidence.study, method)
        for right in dict.fromkeys([(method, recovery), (reference, recovery)]):
            if right in other.sides:
                with suppress(NotComparableError):
                    left = method, recovery
                    effect = estimate(contrast([(1.0, compared.sides[left]), (-1.0, other.sides[right])]))
                    yield compared.row(
                        Calibrations.question,
                        left,
                        right,
                        effect,
                        against_calibration=other.calibrated.calibration,
                    )
