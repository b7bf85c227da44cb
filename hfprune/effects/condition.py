"""The condition of a claim on its effect, and the verdict that an interval gives."""

from typing import NamedTuple

import numpy as np

from hfprune.calibration.folds import MIN_DRAWS
from hfprune.paper.claims import Claim
from hfprune.statistics.estimates import ALPHA, Estimate, multiples_to_decide

# How a claim is judged: by measured outcomes, or by the budget alone.
MEASURED, ARITHMETIC = "measured", "arithmetic"
REPRODUCED, CONTRADICTED, EQUIVALENT = "reproduced", "contradicted", "equivalent"
LEANING_TOWARDS, LEANING_AGAINST = "leaning towards", "leaning against"
INCONCLUSIVE, ONE_DRAW, NOT_COMPARABLE = "inconclusive", "one draw", "not comparable"
NOT_TESTABLE, NOT_APPLICABLE, NOT_RUN = "not testable", "not applicable", "not run"
TRUE, FALSE = "true by arithmetic", "false by arithmetic"
VERDICTS = (
    *(REPRODUCED, CONTRADICTED, LEANING_TOWARDS, LEANING_AGAINST, EQUIVALENT, INCONCLUSIVE),
    *(ONE_DRAW, NOT_TESTABLE, NOT_COMPARABLE, NOT_APPLICABLE, NOT_RUN, TRUE, FALSE),
)
# What an interval shows by itself → the verdict where Holm's correction removes that.
LEANING = {REPRODUCED: LEANING_TOWARDS, CONTRADICTED: LEANING_AGAINST}
BY_ARITHMETIC = {REPRODUCED: TRUE, CONTRADICTED: FALSE}
# Two headings of tables of claims, for readers.
THRESHOLD = (
    "Threshold: the effect beyond which a claim holds. For a difference it is 0. For a quotient, as of times or "
    "memory, it is 1 or the published factor or, where the paper rounds a factor, the one nearest to 1 that "
    "rounds to it, as 2.5 for about 3 times."
)
DETECTABLE = (
    "Minimum detectable effect: the smallest distance from the threshold that the study shows in 80 % of "
    "repetitions; for a quotient, the factor by which it is above or below the threshold."
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
        """Return the condition of a claim whose effect is above, below or about this threshold."""
        margin = claim.margin or 0.0
        if claim.effect == "ratio":
            threshold, margin = float(np.log(threshold)), float(np.log1p(margin))
        return cls(claim.relation, threshold, margin, claim.threshold == "published")

    @property
    def limits(self) -> list[float]:
        """The effects that the interval must exclude on one side for the claim to hold or to fail."""
        if self.relation == "about":
            return [self.threshold - self.margin, self.threshold + self.margin]
        granted = self.margin if self.slack else 0.0
        return [self.threshold + (granted if self.relation == "lower" else -granted)]

    def p_value(self, effect: Estimate) -> float:
        """Return the p-value of the verdict: that of an effect at the limit that is hardest to exclude."""
        return max(effect.p_value(limit) for limit in self.limits)


def verdict(effect: Estimate, condition: Condition) -> str:
    """Return the verdict before Holm's correction: whether the interval lies wholly on one side, or in the margin.

    An effect within the margin is equivalent to no effect, even if its interval excludes that. A claim about an
    equality is reproduced within its margin and contradicted beyond it.
    """
    if not effect.has_interval:
        one_draw = effect.draws == 1 and effect.n and effect.spread is None
        return ONE_DRAW if one_draw else INCONCLUSIVE
    low, high, margin = effect.low, effect.high, condition.margin
    if condition.relation == "about":
        below, above = condition.limits
        if below <= low and high <= above:
            return REPRODUCED
        return CONTRADICTED if low > above or high < below else INCONCLUSIVE
    if not condition.slack and abs(low - condition.threshold) < margin > abs(high - condition.threshold):
        return EQUIVALENT
    (limit,) = condition.limits
    side = int(low > limit) - int(high < limit)
    claimed = -1 if condition.relation == "lower" else 1
    return {claimed: REPRODUCED, -claimed: CONTRADICTED}.get(side, INCONCLUSIVE)


def corrected(judgement: str, holm: float) -> str:
    """Return a verdict after Holm's correction: one that the correction removes becomes `LEANING`."""
    before = {leaning: sure for sure, leaning in LEANING.items()}.get(judgement, judgement)
    return before if before not in LEANING or holm < ALPHA else LEANING[before]


def needs(effect: Estimate, condition: Condition) -> str:
    """Return what would decide an inconclusive comparison if the effect stays as large as it is, or ""."""
    if effect.spread is None:
        too_few = not effect.has_interval and 0 < effect.draws < MIN_DRAWS and effect.n
        return f"{MIN_DRAWS} draws" if too_few else ""
    multiples = multiples_to_decide(effect, lambda narrowed: verdict(narrowed, condition) != INCONCLUSIVE)
    if multiples is None:
        return "more than 100 times the draws and items"
    parts = zip(multiples, ("draws", "items"), strict=True)
    return " and ".join(f"{count} times the {name}" for count, name in parts if count > 1)
