"""The claims of the paper as relations between cells of a study, and the published effects behind them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Annotated, Literal, NamedTuple

import pandas as pd
from pydantic import Field, PositiveFloat, model_validator

from hfprune.errors import HfpruneError, nearest
from hfprune.paper.printed import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    CONFIDENT,
    CROWS,
    NOT_AVERAGED,
    read_rows,
    read_tables,
)
from hfprune.results import DENSE
from hfprune.rounding import percent
from hfprune.settings import Name, Removed, Strict, load


class Side(Strict):
    """One side of a relation: the first alternative that was measured. `dense` has ratio 0."""

    methods: list[Name] = Field(min_length=1)
    recoveries: list[Literal["none", "lora"]] = Field(default=["none"], min_length=1)
    published: Name | None = Field(
        default=None, description="the method's name in the published tables, if different"
    )

    def in_print(self) -> "Side":
        """Return the side with its method as the published tables name it."""
        return self.model_copy(update={"methods": [self.published]}) if self.published else self

    def alternatives(self, ratio: float | None) -> list[tuple[str, float | None, str]]:
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
    left: Side
    right: Side
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

    def terms(self, ratio: float | None) -> list[tuple[int, Side, float | None]]:
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


class PublishedEffect(NamedTuple):
    """A published effect, its confidence (`ok`, `tentative` or `suspect`), and the anomalies behind that."""

    effect: float
    confidence: str
    anomalies: frozenset[str]


@dataclass(frozen=True)
class Paper:
    """The contents of `paper/`: the claims, and the published numbers of `hfprune.paper.printed.read_tables`."""

    models: dict[str, str]
    """A study's name of a model → the paper's, in the paper's order."""
    claims: list[Claim]
    numbers: pd.DataFrame
    anomalies: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Columns `id`, `table` and `claim`, among others."""

    @classmethod
    def read(cls, path: Path) -> "Paper":
        """Read the claims at `path`, and the published tables and anomalies beside them.

        Raises:
            HfpruneError: a file or column is missing, or a claim has an unknown name; names file and key.
        """
        claims, numbers = load(Claims, path), read_tables(path.parent)
        if "confidence" not in numbers:
            numbers["confidence"] = pd.NA
        unmarked = numbers.loc[numbers["confidence"].isna(), "table"]
        if len(unmarked):
            raise HfpruneError(
                f"{path.parent}/tables/table{unmarked.iloc[0]}.csv: lacks the column confidence"
            )
        anomalies = read_rows(path.parent / "anomalies.csv", ["id", "table", "claim"])
        _check(claims, str(path), sorted(set(numbers["model"])), [*anomalies["id"]])
        return cls(claims.models, claims.claims, numbers, anomalies)

    def model(self, names: pd.Series) -> pd.Series:
        """Return the paper's name of each model, given the study's; one that it lacks keeps its own."""
        return names.map(self.models).fillna(names)

    def scores(self) -> pd.DataFrame:
        """Return the published scores of tasks, and averages over ten tasks, that have no known doubts.

        `model` is the study's name; each setting and task once.
        """
        rows = self.numbers[(self.numbers["task"] != "") & (self.numbers["confidence"] == CONFIDENT)]
        rows = rows[(rows["task"] != AVERAGE) | ~rows["table"].isin(NOT_AVERAGED)]
        study = {model: name for name, model in self.models.items()}
        rows = rows.assign(model=rows["model"].map(study)).dropna(subset="model")
        return rows.drop_duplicates(["model", "method", "ratio", "recovery", "task"], ignore_index=True)

    def about(self, table: int) -> dict[str, str]:
        """Return what is wrong with a published table: for each anomaly its claim, by id."""
        concerned = [str(table) in re.findall(r"\d+", tables) for tables in self.anomalies["table"]]
        found = self.anomalies[concerned]
        return dict(zip(found["id"], found["claim"], strict=True))

    def of(self, claim: Claim) -> pd.DataFrame:
        """Return the numbers of the published tables that a claim names."""
        return self.numbers[self.numbers["table"].isin(claim.tables)]

    def tasks(self, claim: Claim) -> list[str]:
        """Return the tasks, sorted and without averages, of the published tables that a claim names."""
        return sorted(set(self.of(claim)["task"]) - {"", AVERAGE})

    @property
    def crows(self) -> set[str]:
        """The tasks whose metric is the share of stereotypes: CrowS-Pairs."""
        return set(self.numbers.loc[self.numbers["metric"] == CROWS, "task"])

    def effect(self, claim: Claim, model: str, ratio: float | None, metric: str) -> PublishedEffect | None:
        """Return the published effect for a model by the paper's name; None if a side is not in print."""
        terms = claim.terms(ratio)
        sides = [
            self._number(claim, side.in_print().alternatives(at), model, metric) for _, side, at in terms
        ]
        if any(side.empty for side in sides):
            return None
        numbers = [side["value"].mean() for side in sides]
        if claim.effect == "difference":
            effect = sum(sign * number for (sign, *_), number in zip(terms, numbers, strict=True))
        else:
            effect = numbers[0] / numbers[1]
        marks = pd.concat(sides)["confidence"].str.partition(": ")
        level = next(level for level in ("suspect", "tentative", "ok") if level in set(marks[0]))
        anomalies = frozenset(", ".join(marks[2]).split(", ")) - {""}
        effect = round(float(effect), 10)  # without the rounding error of floats
        return PublishedEffect(effect, level, anomalies)

    def threshold(self, claim: Claim, model: str, ratio: float | None) -> float | None:
        """Return the effect above, below or about which a claim holds for a model at a ratio.

        A model that the paper lacks has the mean of the published effects at the ratio, for left / right the
        geometric mean. `None` if nothing is published there.
        """
        if claim.threshold != "published":
            return claim.neutral if claim.threshold is None else claim.threshold
        models = (
            [model] if self.effect(claim, model, ratio, claim.metric) else self.of(claim)["model"].unique()
        )
        found = [self.effect(claim, name, ratio, claim.metric) for name in models]
        effects = [published.effect for published in found if published]
        if not effects:
            return None
        return geometric_mean(effects) if claim.effect == "ratio" else fmean(effects)

    def _number(
        self, claim: Claim, alternatives: Sequence[tuple[str, float | None, str]], model: str, metric: str
    ) -> pd.DataFrame:
        rows = self.of(claim)
        rows = rows[rows["model"] == model]
        for method, ratio, recovery in alternatives:
            at = rows["ratio"].isna() if ratio is None else rows["ratio"] == ratio
            line = rows[at & (rows["method"] == method) & (rows["recovery"] == recovery)]
            if metric == AVERAGE_WITHOUT_CROWS:
                tasks = set(self.tasks(claim)) - self.crows
                found = line[line["task"].isin(tasks)]
                found = found if set(found["task"]) == tasks else found[:0]
            else:
                found = line[line["metric"] == (claim.published or metric)]
            if len(found):
                return found
        return rows[:0]


def _check(claims: Claims, where: str, models: list[str], anomalies: list[str]) -> None:
    references = [(f"models.{name}", model, models) for name, model in claims.models.items()]
    for i, claim in enumerate(claims.claims):
        references += [(f"claims.{i}.anomalies", anomaly, anomalies) for anomaly in claim.anomalies]
        if claim.id in [other.id for other in claims.claims[:i]]:
            raise HfpruneError(f"{where}: claims.{i}.id: {claim.id!r} occurs twice")
    for key, name, known in references:
        if name not in known:
            raise HfpruneError(f"{where}: {key}: unknown {name!r}{nearest(name, known)}")
