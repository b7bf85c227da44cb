"""Where along a chain of methods, each of which changes one thing, the effect between its ends arises."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from hfprune.effects.comparisons import ComparedBy, Comparison, ask
from hfprune.effects.questions import Question
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.statistics.quotient import paired_quotient
from hfprune.study.added_effects import AddedEffects


class Steps(AddedEffects):
    """Each method of the study's `chain` less the one before it, and the step's share of the whole effect."""

    question = "step"
    needs = "chain"

    def rows(self, evidence: Evidence) -> Iterator[EffectRow]:
        """Yield two rows per step and outcome: its effect, and, as task `share`, its share of the whole effect.

        The whole effect is the last method of the chain less the first. The effects of one outcome are a family
        for Holm's method. A share has no p-value, and no interval where the whole effect is not significantly
        different from zero.
        """
        return ask(evidence, ComparedBy.all_of(evidence), _steps, _rows)


def _steps(compared: Comparison) -> Iterator[Question]:
    study = compared.evidence.study
    for recovery in study.recoveries_of(compared.model):
        chain = [(method, recovery) for method in study.chain]
        if {*chain} <= compared.sides.keys():
            for before, after in pairwise(chain):
                yield Question(Steps.question, after, before)


def _rows(compared: Comparison, asked: Question, difference: Contrast) -> Iterator[EffectRow]:
    effect = estimate(difference)
    yield compared.row(*asked, effect)
    first, *_, last = ((method, asked.left[1]) for method in compared.evidence.study.chain)
    to, start, begin, end = compared.paired(asked.left, asked.right, first, last)
    share = paired_quotient([(1.0, to), (-1.0, start)], [(1.0, end), (-1.0, begin)])
    shown: dict[str, Any] = {"detectable": np.nan, "neutral": 0.0, "better": "", "unit": "", "form": "{:.2f}"}
    yield compared.quotient_row(*asked, effect, share, task="share", **shown)
