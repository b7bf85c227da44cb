"""What the text of the calibration changes: each method on one text less the same method on the study's first."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby

from hfprune.cells import DENSE
from hfprune.effects.comparisons import ComparedBy, comparisons
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import NotComparableError, contrast
from hfprune.study.added_effects import AddedEffects


class Calibrations(AddedEffects):
    """A method on one calibration less the same on the first of the study, from as many sequences."""

    question = "calibration"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per method, recovery, calibration but the first, and first outcome of each measure."""
        first, *_ = evidence.study.calibrations
        by_place = groupby(
            comparisons(evidence, ComparedBy.first_of(evidence)),
            lambda compared: (compared.model, compared.outcome, compared.ratio),
        )
        for _, group in by_place:
            by_calibration = {compared.calibrated: compared for compared in group}
            for calibrated, compared in by_calibration.items():
                other = by_calibration.get(calibrated._replace(calibration=first))
                if calibrated.calibration == first or other is None:
                    continue
                for side in [side for side in compared.sides if side in other.sides and side[0] != DENSE]:
                    with suppress(NotComparableError):
                        sides = [(1.0, compared.sides[side]), (-1.0, other.sides[side])]
                        effect = estimate(contrast(sides))
                        yield compared.row(self.question, side, side, effect, against_calibration=first)
