"""Every two methods of a study, where the question needs more than each beside its reference."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations

from hfprune.cells import DENSE
from hfprune.effects.comparisons import ComparedBy, comparisons
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import NotComparableError
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import reference_of


class Pairs(AddedEffects):
    """One method less another, both with the same recovery, in the first outcome of each measure."""

    question = "pair"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per pair without the reference; those of one outcome are a family for Holm's method."""
        for compared in comparisons(evidence, ComparedBy.first_of(evidence)):
            for left, right in combinations(compared.sides, 2):
                methods = {left[0], right[0]}
                references = {reference_of(evidence.study, name) for name in methods - {DENSE}}
                if left[1] != right[1] or methods & ({DENSE} | references):
                    continue
                with suppress(NotComparableError):
                    yield compared.row(self.question, left, right, estimate(compared.difference(left, right)))
