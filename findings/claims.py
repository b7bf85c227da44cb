"""The claims of the paper on the page: each on every model that the study that decides it has."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from findings.cited import Cited, Studies
from findings.markdown import unpadded
from hfprune.effects.condition import ARITHMETIC, NOT_RUN, NOT_TESTABLE, corrected
from hfprune.effects.questions import CLAIM
from hfprune.errors import HfpruneError
from hfprune.paper.claims import Claim
from hfprune.paper.relations import Paper
from hfprune.results.averages import AVERAGE_WITHOUT_CROWS
from hfprune.results.effect import Effect
from hfprune.rounding import percent
from hfprune.statistics.estimates import holm

MARKS = {NOT_TESTABLE: " ⊘"}


class Decided:
    """The rows of all claims in the studies that decide them, corrected by Holm's method together."""

    def __init__(self, paper: Path, studies: Studies, deciding: Mapping[str, Mapping[str, str]]) -> None:
        """Take the study that decides each claim on each model.

        Raises:
            HfpruneError: a claim is unknown, or a study has no row of it.
        """
        self.paper, self.studies, self.deciding = Paper.read(paper / "claims.yaml"), studies, deciding
        known = [claim.id for claim in self.paper.claims]
        for claim in deciding:
            if claim not in known:
                raise HfpruneError(f"declared.yaml: no claim {claim!r} in paper/claims.yaml")

    @cached_property
    def rows(self) -> dict[str, list[Cited]]:
        """The rows of each claim; none where no study decides it."""
        found = {claim.id: [*self._of(claim)] for claim in self.paper.claims}
        everything = [row for rows in found.values() for row in rows]
        adjusted = holm([row["p"] for row in everything])
        cited = {}
        for row, p in zip(everything, adjusted, strict=True):
            if row["basis"] != ARITHMETIC:
                row |= {"holm": p, "verdict": corrected(row["verdict"], p)}
        for claim, rows in found.items():
            cited[claim] = [self.cite(row, named(row["model"], row["ratio"])) for row in rows]
        return cited

    def _of(self, claim: Claim) -> Iterable[dict[str, Any]]:
        for model, study in self.deciding.get(claim.id, {}).items():
            rows = self.measured(claim.id, study, model)
            if not rows:
                raise HfpruneError(f"declared.yaml: {study} has no {claim.id} on {model}")
            yield from rows

    def measured(self, claim: str, study: str, model: str) -> list[dict[str, Any]]:
        """Return the rows of a claim that a study measured on a model, with the other side's own outcome."""
        rows = self.studies.table(study, "claims.csv")
        rows = rows[(rows["claim"] == claim) & (rows["model"] == model) & (rows["verdict"] != NOT_RUN)]
        rows = rows[rows["metric"] != AVERAGE_WITHOUT_CROWS]  # a second reading of the same claim
        effects = self.studies.table(study, "effects.csv")
        about = (effects["question"] == CLAIM) & (effects["outcome"] == effects["metric"])
        bases = effects.loc[about, ["claim", "model", "ratio", "base"]]
        both = rows.merge(bases, "left", on=["claim", "model", "ratio"]).assign(study=study)
        return [{str(key): value for key, value in row.items()} for row in both.to_dict("records")]

    @staticmethod
    def cite(row: dict[str, Any], name: str) -> Cited:
        """Return a row of a claim as the page cites it."""
        return Cited(name, Effect.of_claim(row), row)

    @property
    def all(self) -> list[Cited]:
        """All rows, claim by claim."""
        return [row for rows in self.rows.values() for row in rows]

    def published(self, claim: str) -> list[float]:
        """Return the smallest and the largest published effect of a claim; nothing where none is published."""
        (known,) = (one for one in self.paper.claims if one.id == claim)
        models = self.paper.of(known)["model"].unique()
        found = [
            effect.effect
            for model in models
            for at in known.ratios
            if (effect := self.paper.effect(known, model, at, known.metric))
        ]
        return sorted({min(found), max(found)}) if found else []


HEADINGS = [
    "claim",
    "published",
    "model, removed",
    "effect",
    "samples × items",
    "detectable",
    "verdict",
    "study",
]


def named(model: str, ratio: float) -> str:
    """Return the name of a row: its model, and its ratio where the claim is of one."""
    return ", ".join(filter(None, [model, percent(ratio)]))


def table(decided: Decided) -> str:
    """Return the claims as a Markdown table, a row a claim."""
    lines: list[list[str]] = []
    for claim in decided.paper.claims:
        rows = decided.rows[claim.id]
        published = " to ".join(f"{end:.3g}" for end in decided.published(claim.id)).replace("-", "−")
        head = f"{claim.sentence.rstrip('.')} ({claim.where})", published or "–"
        cells = [
            [row.name for row in rows],
            [str(row.effect) for row in rows],
            [_size(row.row) for row in rows],
            [_detectable(row.row) for row in rows],
            [row.verdict for row in rows],
            [f"[{row.row['study']}](../results/{row.row['study']}/claims.csv)" for row in rows],
        ]
        empty = ["–"] * 4 + [NOT_RUN, "–"]
        lines.append([*head, *("<br>".join(cell) or none for cell, none in zip(cells, empty, strict=True))])
    return unpadded(lines, HEADINGS)


def _size(row: Mapping[str, Any]) -> str:
    if row["basis"] == ARITHMETIC:
        return "by arithmetic"
    resamples = f" + {row['resamples']:.0f} resamples" * (row["draws"] == 1 and row["resamples"] > 1)
    return f"{row['draws']:.0f}{resamples} × {row['n']:.0f}"


def _detectable(row: Mapping[str, Any]) -> str:
    return "–" if row["basis"] == ARITHMETIC or pd.isna(row["detectable"]) else f"{row['detectable']:.2g}"
