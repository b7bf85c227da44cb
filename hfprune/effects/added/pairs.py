"""Every two methods of a study, where the question needs more than each beside its reference."""

from collections.abc import Iterator
from itertools import combinations

from hfprune.cells import DENSE
from hfprune.effects.comparisons import ComparedBy, Comparison, ask
from hfprune.effects.questions import Question
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import reference_of


class Pairs(AddedEffects):
    """One method less another, both with the same recovery, in the first outcome of each measure."""

    question = "pair"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per pair without the reference; those of one outcome are a family for Holm's method."""
        return ask(evidence, ComparedBy.first_of(evidence), _pairs, _row)


def _pairs(compared: Comparison) -> Iterator[Question]:
    for left, right in combinations(compared.sides, 2):
        methods = {left[0], right[0]}
        references = {reference_of(compared.evidence.study, name) for name in methods - {DENSE}}
        if left[1] == right[1] and not methods & ({DENSE} | references):
            yield Question(Pairs.question, left, right)


def _row(compared: Comparison, asked: Question, difference: Contrast) -> Iterator[EffectRow]:
    yield compared.row(*asked, estimate(difference))
