"""Where along a chain of methods, each of which changes one thing, the effect between its ends arises."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from hfprune.effects.comparisons import ComparedBy, Comparison, comparisons
from hfprune.effects.questions import Side
from hfprune.results.effect_rows import EffectRow
from hfprune.results.evidence import Evidence
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import NotComparableError
from hfprune.statistics.quotient import paired_quotient
from hfprune.study.added_effects import AddedEffects

SHARE = "share"


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
        for compared in comparisons(evidence, ComparedBy.all_of(evidence)):
            for recovery in evidence.study.recoveries_of(compared.model):
                chain = [(method, recovery) for method in evidence.study.chain]
                if {*chain} <= compared.sides.keys():
                    for before, after in pairwise(chain):
                        with suppress(NotComparableError):  # in a partial run, cells have different draws
                            effect = estimate(compared.difference(after, before))
                            yield compared.row(self.question, after, before, effect)
                            yield _share(compared, after, before, (chain[0], chain[-1]), effect)


def _share(
    compared: Comparison, after: Side, before: Side, ends: tuple[Side, Side], effect: Estimate
) -> EffectRow:
    to, start, first, last = compared.paired(after, before, *ends)
    share = paired_quotient([(1.0, to), (-1.0, start)], [(1.0, last), (-1.0, first)])
    shown: dict[str, Any] = {"detectable": np.nan, "neutral": 0.0, "better": "", "unit": "", "form": "{:.2f}"}
    return compared.quotient_row(Steps.question, after, before, effect, share, task=SHARE, **shown)
