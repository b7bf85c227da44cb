"""Every two methods of a study, where the question needs others than each beside its reference."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, product

from hfprune.analysis.effect_rows import BOTH, EffectRow
from hfprune.analysis.effects import ComparedBy, measured, row_of
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotComparableError, contrast
from hfprune.analysis.questions import Question, Side
from hfprune.analysis.reference import reference_of
from hfprune.analysis.statistics import estimate
from hfprune.results import DENSE
from hfprune.study.added_effects import AddedEffects
from hfprune.study.study import Study


class Pairs(AddedEffects):
    """One method less another, both with the same recovery, in the first outcome of each measure.

    A method that removes whole layers stands beside reconstructed ones, too, as it is: nothing of it can be
    reconstructed.
    """

    question = "pair"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield a row a pair without the reference; those of one outcome are a family for Holm's method."""
        first = evidence.declared.first_outcomes()
        for model, outcome in product(evidence.models, ComparedBy.all_of(evidence)):
            for ratio in evidence.study.ratios_of(model) if outcome.name in first else ():
                cells = measured(evidence, outcome.declared, model, ratio)
                for left, right in combinations(cells, 2):
                    methods = {left[0], right[0]}
                    references = {reference_of(evidence.study, name) for name in methods - {DENSE}}
                    if methods & {DENSE, *references} or not _comparable(evidence.study, left, right):
                        continue
                    with suppress(NotComparableError):
                        it = estimate(contrast([(1.0, cells[left]), (-1.0, cells[right])]))
                        asked = Question(self.question, left, right)
                        yield row_of(evidence, asked, model, ratio, outcome, it, BOTH if it.known else "")


def _comparable(study: Study, left: Side, right: Side) -> bool:
    if left[1] == right[1]:
        return True
    methods = dict(zip((left[1], right[1]), (left[0], right[0]), strict=True))
    return methods.keys() == {"none", "linear"} and study.methods[methods["none"]].layers_alone
