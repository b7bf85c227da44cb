"""Losses relative to entropy's: what a plan adds to log perplexity, divided by what pruning by entropy adds."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import DENSE_SIDE, ComparedBy, Comparison, comparisons
from hfprune.effects.questions import Side
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import NotComparableError, Outcomes
from hfprune.statistics.quotient import paired_quotient
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import PAPERS


class Losses(AddedEffects):
    """The added log perplexity of one side divided by that of the other."""

    question = "loss"
    form = "{:.2f}"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per pruned cell and text: its loss over entropy's, without and with the same recovery."""
        first = ComparedBy.first_of(evidence)
        logarithmic = [outcome for outcome in first if outcome.declared.metric.effect == "ratio"]
        for compared in comparisons(evidence, logarithmic):
            # In a partial run, cells have different draws, or none.
            for left, right in _pairs(compared.sides) if DENSE_SIDE in compared.sides else ():
                with suppress(NotComparableError):
                    yield _row(compared, left, right)


def _row(compared: Comparison, left: Side, right: Side) -> EffectRow:
    ends = loss_ratio(*compared.paired(right, DENSE_SIDE, left))
    counts = estimate(compared.difference(left, right))
    return compared.quotient_row(Losses.question, left, right, counts, ends, better="lower", form=Losses.form)


def _pairs(sides: Mapping[Side, Outcomes]) -> Iterator[tuple[Side, Side]]:
    for left, recovery in product(sides, (Recovery.NONE, Recovery.LINEAR)):
        right: Side = PAPERS, recovery
        if right in sides and left != right and left[0] != DENSE and recovery in (Recovery.NONE, left[1]):
            yield left, right


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return the loss of `other` divided by that of `paper`, with the ends of its 95 % interval."""
    return paired_quotient([(1.0, other), (-1.0, dense)], [(1.0, paper), (-1.0, dense)])
