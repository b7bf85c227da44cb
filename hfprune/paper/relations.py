"""The claims of the paper with the published numbers, and the published effects behind them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import NamedTuple

import pandas as pd

from hfprune.assets.known_tasks import CROWS
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError, nearest
from hfprune.paper.claims import Claim, Claims
from hfprune.paper.printed import (
    AVERAGE,
    AVERAGE_WITHOUT_CROWS,
    CONFIDENT,
    NOT_AVERAGED,
    read_rows,
    read_tables,
)
from hfprune.settings import load


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
        """Return the paper's name of each model, given the study's; one that the paper lacks keeps its own."""
        return names.map(self.models).fillna(names)

    def scores(self) -> pd.DataFrame:
        """Return the published scores of tasks, and averages over ten tasks, that have no known doubts.

        `model` is the study's name; each setting and task occurs once.
        """
        rows = self.numbers[(self.numbers["task"] != "") & (self.numbers["confidence"] == CONFIDENT)]
        rows = rows[(rows["task"] != AVERAGE) | ~rows["table"].isin(NOT_AVERAGED)]
        study = {model: name for name, model in self.models.items()}
        rows = rows.assign(model=rows["model"].map(study)).dropna(subset="model")
        return rows.drop_duplicates(["model", "method", "ratio", "recovery", "task"], ignore_index=True)

    def about(self, table: int) -> dict[str, str]:
        """Return what is wrong with a published table: the claim of each anomaly, by id."""
        concerned = [str(table) in re.findall(r"\d+", tables) for tables in self.anomalies["table"]]
        anomalies = self.anomalies[concerned]
        return dict(zip(anomalies["id"], anomalies["claim"], strict=True))

    def numbers_of(self, claim: Claim) -> pd.DataFrame:
        """Return the numbers of the published tables that a claim names."""
        return self.numbers[self.numbers["table"].isin(claim.tables)]

    def tasks(self, claim: Claim) -> list[str]:
        """Return the tasks, sorted and without averages, of the published tables that a claim names."""
        return sorted(set(self.numbers_of(claim)["task"]) - {"", AVERAGE})

    @property
    def crows(self) -> set[str]:
        """The tasks whose metric is the share of stereotypes: CrowS-Pairs."""
        return set(self.numbers.loc[self.numbers["metric"] == CROWS, "task"])

    def effect(self, claim: Claim, model: str, ratio: float | None, metric: str) -> PublishedEffect | None:
        """Return the published effect for a model, by its name in the paper; None if a side is not in print."""
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

        For a model that the paper lacks, a published threshold is the mean of the published effects at the ratio,
        or the geometric mean for left / right. None if nothing is published there.
        """
        if claim.threshold != "published":
            return claim.neutral if claim.threshold is None else claim.threshold
        models = (
            [model]
            if self.effect(claim, model, ratio, claim.metric)
            else self.numbers_of(claim)["model"].unique()
        )
        published_effects = [self.effect(claim, name, ratio, claim.metric) for name in models]
        effects = [published.effect for published in published_effects if published]
        if not effects:
            return None
        return geometric_mean(effects) if claim.effect == "ratio" else fmean(effects)

    def _number(
        self,
        claim: Claim,
        alternatives: Sequence[tuple[str, float | None, Recovery]],
        model: str,
        metric: str,
    ) -> pd.DataFrame:
        rows = self.numbers_of(claim)
        rows = rows[rows["model"] == model]
        for method, ratio, recovery in alternatives:
            at = rows["ratio"].isna() if ratio is None else rows["ratio"] == ratio
            line = rows[at & (rows["method"] == method) & (rows["recovery"] == recovery)]
            if metric == AVERAGE_WITHOUT_CROWS:
                tasks = set(self.tasks(claim)) - self.crows
                numbers = line[line["task"].isin(tasks)]
                numbers = numbers if set(numbers["task"]) == tasks else numbers[:0]
            else:
                numbers = line[line["metric"] == (claim.published or metric)]
            if len(numbers):
                return numbers
        return rows[:0]


def _check(claims: Claims, where: str, models: list[str], anomalies: list[str]) -> None:
    references = [(f"models.{name}", model, models) for name, model in claims.models.items()]
    for i, claim in enumerate(claims.claims):
        references += [(f"claims.{i}.anomalies", anomaly, anomalies) for anomaly in claim.anomalies]
        if claim.id in [other.id for other in claims.claims[:i]]:
            raise HfpruneError(f"{where}: claims.{i}.id: {claim.id!r} occurs twice")
    for key, name, allowed in references:
        if name not in allowed:
            raise HfpruneError(f"{where}: {key}: unknown {name!r}{nearest(name, allowed)}")
