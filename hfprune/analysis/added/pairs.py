"""Every two methods of a study, where the question needs others than each beside its reference."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, product

from hfprune.analysis.effect_rows import BOTH, EffectRow
from hfprune.analysis.effects import ComparedBy, measured, row_of
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, contrast
from hfprune.analysis.questions import Question
from hfprune.analysis.reference import reference_of
from hfprune.analysis.statistics import estimate
from hfprune.study.added_effects import AddedEffects


class Pairs(AddedEffects):
    """One method less another, both with the same recovery, in the first outcome of each measure."""

    question = "pair"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a pair without the reference; those of one outcome are a family for Holm's method."""
        first = evidence.declared.first_outcomes()
        for model, outcome in product(evidence.models, ComparedBy.all_of(evidence)):
            for ratio in evidence.study.ratios_of(model) if outcome.name in first else ():
                cells = measured(evidence, outcome.declared, model, ratio)
                for left, right in combinations(cells, 2):
                    alike = left[1] == right[1]
                    methods = {left[0], right[0]}
                    known = methods <= {*evidence.study.methods_of(model)}
                    if not (alike and known) or methods & {
                        reference_of(evidence.study, name) for name in methods
                    }:
                        continue
                    with suppress(NotComparableError):
                        it = estimate(contrast([(1.0, cells[left]), (-1.0, cells[right])]))
                        asked = Question(self.question, left, right)
                        yield row_of(evidence, asked, model, ratio, outcome, it, BOTH if it.known else "")
