"""Losses relative to entropy's: what a plan adds to log perplexity, divided by what pruning by entropy adds."""

from collections.abc import Iterator
from itertools import product

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.comparisons import DENSE_SIDE, ComparedBy, Comparison, ask
from hfprune.effects.questions import Question, Side
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Contrast, Outcomes
from hfprune.statistics.quotient import paired_quotient
from hfprune.study.added_effects import AddedEffects
from hfprune.study.reference import PAPERS


class Losses(AddedEffects):
    """The added log perplexity of one side divided by that of the other."""

    question = "loss"
    form = "{:.2f}"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield one row per pruned cell and text: its loss over entropy's, without and with the same recovery."""
        ratios = (some for some in ComparedBy.first_of(evidence) if some.declared.metric.effect == "ratio")
        return ask(evidence, ratios, _pairs, _row)


def _pairs(compared: Comparison) -> Iterator[Question]:
    sides = compared.sides
    for left, recovery in product(sides, (Recovery.NONE, Recovery.LINEAR)) if DENSE_SIDE in sides else ():
        right: Side = PAPERS, recovery
        if right in sides and left != right and left[0] != DENSE and recovery in (Recovery.NONE, left[1]):
            yield Question(Losses.question, left, right)


def _row(compared: Comparison, asked: Question, difference: Contrast) -> Iterator[EffectRow]:
    ends = loss_ratio(*compared.paired(asked.right, DENSE_SIDE, asked.left))
    yield compared.quotient_row(*asked, estimate(difference), ends, better="lower", form=Losses.form)


def loss_ratio(paper: Outcomes, dense: Outcomes, other: Outcomes) -> tuple[float, float, float]:
    """Return the loss of `other` divided by that of `paper`, with the ends of its 95 % interval."""
    return paired_quotient([(1.0, other), (-1.0, dense)], [(1.0, paper), (-1.0, dense)])
