"""The condition of a claim on its effect, and the verdict that an interval gives."""

from typing import NamedTuple

import numpy as np

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.statistics import MIN_DRAWS, Estimate, multiples_to_decide
from hfprune.paper.relations import Claim

REPRODUCED, CONTRADICTED, EQUIVALENT = "reproduced", "contradicted", "equivalent"
INCONCLUSIVE, ONE_DRAW, NOT_COMPARABLE = "inconclusive", "one draw", "not comparable"
NOT_TESTABLE, NOT_APPLICABLE, NOT_RUN = "not testable", "not applicable", "not run"
VERDICTS = (
    *(REPRODUCED, CONTRADICTED, EQUIVALENT, INCONCLUSIVE),
    *(ONE_DRAW, NOT_TESTABLE, NOT_COMPARABLE, NOT_APPLICABLE, NOT_RUN),
)


class Condition(NamedTuple):
    """The condition of a claim on its effect; for a ratio in logarithms, as the effect itself."""

    relation: str
    threshold: float
    margin: float = 0.0
    slack: bool = False
    """Whether the margin is granted to the claim, instead of making small effects equivalent to none."""

    @classmethod
    def of(cls, claim: Claim, threshold: float) -> "Condition":
        margin = claim.margin or 0.0
        if claim.effect == "ratio":
            threshold, margin = float(np.log(threshold)), float(np.log1p(margin))
        return cls(claim.relation, threshold, margin, claim.threshold == "published")


def verdict(effect: Estimate, condition: Condition) -> str:
    """Return whether the interval lies wholly on the claimed side, on the other, within the margin, or neither.

    An effect within the margin is equivalent to none, even if its interval excludes none. A claim about an
    equality is reproduced within its margin and contradicted beyond it.
    """
    if not effect.known:
        return ONE_DRAW if effect.draws == 1 and effect.n and effect.spread is None else INCONCLUSIVE
    low, high = effect.low - condition.threshold, effect.high - condition.threshold
    margin = condition.margin
    if condition.relation == "about":
        if -margin <= low and high <= margin:
            return REPRODUCED
        return CONTRADICTED if low > margin or high < -margin else INCONCLUSIVE
    if condition.relation == "lower":
        low, high = -high, -low
    if condition.slack:
        low, high = low + margin, high + margin
    elif -margin < low and high < margin:
        return EQUIVALENT
    if low > 0:
        return REPRODUCED
    return CONTRADICTED if high < 0 else INCONCLUSIVE


def needs(effect: Estimate, condition: Condition) -> str:
    """Return what would decide an inconclusive comparison whose effect is as large as found."""
    if effect.spread is None:
        return f"{MIN_DRAWS} draws" if not effect.known and 0 < effect.draws < MIN_DRAWS and effect.n else ""
    multiples = multiples_to_decide(effect, lambda found: verdict(found, condition) != INCONCLUSIVE)
    if multiples is None:
        return "more than 100 times the draws and items"
    found = zip(multiples, ("draws", "items"), strict=True)
    return " and ".join(f"{count} times the {name}" for count, name in found if count > 1)


def unit_of(claim: Claim, declared: Declarations) -> str:
    if claim.effect == "ratio":
        return "ratio"
    metric = declared.find(claim.measure, claim.metric).metric
    if metric.unit == "%":
        return "points"
    return f"{metric.label}, logarithms" if metric.effect == "ratio" else metric.label
