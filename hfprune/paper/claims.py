"""The claims of the paper (`paper/claims.yaml`), each a relation between two sides."""

from itertools import product
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.paper.printed import AVERAGE
from hfprune.rounding import percent
from hfprune.settings import Name, Removed, Strict


class SideOfClaim(Strict):
    """One side of a relation: the first alternative that was measured. `dense` has ratio 0."""

    methods: list[Name] = Field(min_length=1)
    recoveries: list[Recovery] = Field(default=[Recovery.NONE], min_length=1)
    published: Name | None = Field(
        default=None, description="the method's name in the published tables, if different"
    )

    def in_print(self) -> "SideOfClaim":
        """Return the side with its method as the published tables name it."""
        return self.model_copy(update={"methods": [self.published]}) if self.published else self

    def alternatives(self, ratio: float | None) -> list[tuple[str, float | None, Recovery]]:
        """Return method, ratio and recovery of each alternative, the preferred first."""
        pairs = product(self.methods, self.recoveries)
        return [(method, 0.0 if method == DENSE else ratio, recovery) for method, recovery in pairs]


class Claim(Strict):
    """A sentence of the paper as a relation between two sides, evaluated for every model and ratio.

    The effect is left - right for outcomes per item (in points if they are percentages), or left / right for
    single numbers, such as times and sizes.
    """

    id: Name
    short: str = Field(default="", description="its name in a figure of all claims")
    sentence: str
    where: str = Field(description="where the paper says it")
    tables: list[Annotated[int, Field(ge=1, le=8)]] = Field(
        min_length=1, description="which published tables have its numbers"
    )
    ratios: list[Removed | None] = Field(
        min_length=1, description="null: for a number without a ratio, such as the cost of scoring"
    )
    measure: Name = Field(
        description="a measure, by its name in studies; or cost or size, which every study has"
    )
    metric: str
    effect: Literal["difference", "ratio"] = Field(
        default="difference", description="left - right, item by item; or left / right"
    )
    measured_as: str | None = Field(
        default=None,
        description="a metric that already is left / right, as of a pruned model timed in turns with the dense "
        "one; null: compare the metric of both sides",
    )
    published: str | None = Field(
        default=None, description="the metric's name in the published tables, if different"
    )
    left: SideOfClaim
    right: SideOfClaim
    relation: Literal["higher", "lower", "about"] = Field(
        description="the effect is higher or lower than the threshold, or differs from it by less than the margin"
    )
    threshold: float | Literal["published"] | None = Field(
        default=None,
        description="published: the published effect at the same ratio, less the margin; null: 0, or 1 for "
        "left / right",
    )
    margin: PositiveFloat | None = Field(
        default=None,
        description="an effect nearer to the threshold than this matters to nobody: equivalent. In the units of "
        "the effect; for left / right a share, as 0.1 for 10 %",
    )
    arithmetic: bool = Field(
        default=False,
        description="whether the outcome follows from the budget by arithmetic, and is no evidence",
    )
    on_gpus: bool = Field(
        default=False,
        description="whether only a GPU's allocator tests it: a CPU's number is the resident memory of the whole "
        "process, of which interpreter and libraries are much",
    )
    above_constant: Literal["both", "right"] = Field(
        default="both",
        description="the sides whose accuracy must be significantly above that of a guess or a constant "
        "answer, for the claim to be tested; right: a left side at that level is evidence against the claim",
    )
    beyond: Removed | None = Field(default=None, description="subtract the effect at this ratio")
    anomalies: list[str] = Field(default=[], description="ids in anomalies.csv that concern the whole claim")

    @model_validator(mode="after")
    def _fits_the_measure(self) -> "Claim":
        if self.measure == "zeroshot" and self.metric != AVERAGE:
            raise ValueError(f"the metric of zeroshot is {AVERAGE!r}, not {self.metric!r}")
        if self.beyond is not None and self.effect == "ratio":
            raise ValueError("beyond needs effect: difference")
        if self.measured_as is not None and self.effect != "ratio":
            raise ValueError("measured_as needs effect: ratio")
        if (self.threshold == "published" or self.relation == "about") and self.margin is None:
            raise ValueError("threshold: published and relation: about need a margin")
        if self.measured_as is not None and [DENSE] not in (self.left.methods, self.right.methods):
            raise ValueError(f"measured_as needs {DENSE!r} as one side")
        return self

    @property
    def neutral(self) -> float:
        """What no effect is: 1 for left / right, else 0."""
        return float(self.effect == "ratio")

    @property
    def compares(self) -> str:
        """The effect as a formula for readers."""
        left, right = (" or ".join(side.methods) for side in (self.left, self.right))
        beyond = "" if self.beyond is None else f", less the same at {percent(self.beyond)}"
        return f"{left} {'-' if self.effect == 'difference' else '/'} {right}, {self.metric}{beyond}"

    @property
    def condition(self) -> str:
        """When the claim holds, with its threshold and margin, as a clause for readers."""
        margin = self.margin and (percent(self.margin) if self.effect == "ratio" else f"{self.margin:g}")
        threshold = self.neutral if self.threshold is None else self.threshold
        than = "the published effect" if threshold == "published" else f"{threshold:g}"
        if self.relation == "about":
            return f"the claim holds within {margin} of {than}"
        side = "above" if self.relation == "higher" else "below"
        if threshold == "published":
            return f"the claim holds {side} {than}, with {margin} of slack"
        within = f"; within {margin} of it, the sides are equivalent" if margin else ""
        return f"the claim holds {side} {than}{within}"

    def terms(self, ratio: float | None) -> list[tuple[int, SideOfClaim, float | None]]:
        """Return the sides whose sum is the effect at `ratio`, each with its sign and its ratio."""
        ratios = [(1, ratio)] if self.beyond is None else [(1, ratio), (-1, self.beyond)]
        sides = ((1, self.left), (-1, self.right))
        return [(sign * weight, side, at) for sign, at in ratios for weight, side in sides]


class Claims(Strict):
    """The contents of `paper/claims.yaml`."""

    models: dict[Name, str] = Field(
        description="a model's name in studies → its name in the published tables"
    )
    claims: list[Claim] = Field(min_length=1)
