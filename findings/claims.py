"""The claims of the paper on the page, each on every model of the study that decides it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from findings.cited import Cited, Studies, effect_rows
from findings.markdown import linked, unpadded
from hfprune.cells import UNCALIBRATED
from hfprune.effects.condition import ARITHMETIC, NOT_RUN, NOT_TESTABLE, Condition, corrected
from hfprune.effects.verdicts import ClaimRow
from hfprune.errors import HfpruneError
from hfprune.paper.claims import Claim
from hfprune.paper.relations import Paper
from hfprune.results.averages import AVERAGE_WITHOUT_CROWS
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import EffectRow
from hfprune.rounding import percent
from hfprune.statistics.estimates import holm

MARKS = {NOT_TESTABLE: " ⊘"}
TEXTS = [name for name, kind in ClaimRow.__annotations__.items() if kind in (str, "str")]


class Decided:
    """The rows of all claims in the studies that decide them, corrected by Holm's method together."""

    def __init__(self, paper: Path, studies: Studies, deciding: Mapping[str, Mapping[str, str]]) -> None:
        """Take the paper, the studies, and the study that decides each claim on each model.

        Raises:
            HfpruneError: a claim is unknown, or a study has no row of it.
        """
        self.paper, self.studies, self.deciding = Paper.read(paper / "claims.yaml"), studies, deciding
        ids = [claim.id for claim in self.paper.claims]
        for claim in deciding:
            if claim not in ids:
                raise HfpruneError(f"declared.yaml: no claim {claim!r} in paper/claims.yaml")

    @cached_property
    def rows(self) -> dict[str, list[Cited]]:
        """The rows of each claim; none where no study decides it."""
        measured = {claim.id: [*self._deciding_rows(claim)] for claim in self.paper.claims}
        adjusted = iter(holm([row.claim.p for rows in measured.values() for row in rows if row.claim]))
        return {name: [_corrected(row, next(adjusted)) for row in rows] for name, rows in measured.items()}

    def _deciding_rows(self, claim: Claim) -> Iterable[Cited]:
        for model, study in self.deciding.get(claim.id, {}).items():
            rows = self.measured(claim.id, study, model)
            if not rows:
                raise HfpruneError(f"declared.yaml: {study} has no {claim.id} on {model}")
            yield from rows

    def measured(self, claim: str, study: str, model: str) -> list[Cited]:
        """Return the rows of a claim that a study measured on a model, with the study's own verdicts.

        Of several calibrations, the first one decides.
        """
        results = self.studies.results(study)
        first, *_ = results.study.calibrations
        rows = self.studies.named(results.claims)
        rows = rows[rows["calibration"].isin([first, UNCALIBRATED])]
        rows = rows[(rows["claim"] == claim) & (rows["model"] == model) & (rows["verdict"] != NOT_RUN)]
        rows = rows[rows["metric"] != AVERAGE_WITHOUT_CROWS]  # a second reading of the same claim
        effects = self.studies.effects(study)
        about = effects[(effects["claim"] == claim) & (effects["model"] == model)]
        by_place = {_place(row, row.outcome): row for row in effect_rows(about)}
        rows = rows.astype(dict.fromkeys(TEXTS, object)).fillna(dict.fromkeys(TEXTS, ""))
        lines = rows[[*ClaimRow._fields]].itertuples(index=False, name=None)
        claims = [ClaimRow(*line) for line in lines]
        return [_cited(row, by_place[_place(row, row.metric)], study) for row in claims]

    @property
    def all(self) -> list[Cited]:
        """All rows, claim by claim."""
        return [row for rows in self.rows.values() for row in rows]

    def published(self, claim: Claim, ratio: float | None) -> list[float]:
        """Return the smallest and the largest published effect of a claim at a ratio; empty if there is none."""
        models = self.paper.numbers_of(claim)["model"].unique()
        effects = [
            effect.effect
            for model in models
            if (effect := self.paper.effect(claim, model, ratio, claim.metric))
        ]
        return sorted({min(effects), max(effects)}) if effects else []


def _place(row: ClaimRow | EffectRow, outcome: str) -> tuple[object, ...]:
    return row.calibration, row.sequences, None if pd.isna(row.ratio) else row.ratio, outcome


def _cited(claim: ClaimRow, row: EffectRow, study: str) -> Cited:
    effect = Effect.of_claim(row._asdict() | claim._asdict())
    return Cited(named(row.model, row.ratio), effect, row, claim, study)


def _corrected(row: Cited, p: float) -> Cited:
    """Return a row with the p-value by Holm's method for all of them."""
    assert row.claim is not None
    if row.claim.basis == ARITHMETIC:
        return row
    claim = row.claim._replace(holm=p, verdict=corrected(row.claim.verdict, p))
    return replace(row, claim=claim, effect=replace(row.effect, holm=p))


HEADINGS = [
    "claim",
    "model, removed",
    "calibrated on",
    "published",
    "effect",
    "samples × items",
    "detectable",
    "verdict",
    "study",
]


def named(model: str, ratio: float | None) -> str:
    """Return the name of a row: its model, and its ratio if the claim has one."""
    return ", ".join(filter(None, [model, percent(ratio)]))


def table(decided: Decided, *, tested: bool) -> str:
    """Return the claims as a Markdown table, one row per claim: those that could be tested, or all the others.

    A claim that could be tested only on some of its models is in both tables, each with its part. What all rows of
    a claim share stands once.
    """
    lines: list[list[str]] = []
    for claim in decided.paper.claims:
        rows = [row for row in decided.rows[claim.id] if _tested(row) == tested]
        if not rows and (tested or decided.rows[claim.id]):
            continue
        head = f"{claim.sentence.rstrip('.')} ({claim.where})"
        cells = [
            [row.name for row in rows],
            [decided.studies.calibration(row.study, row.row.calibration) for row in rows],
            [_published(decided, claim, row.ratio) for row in rows],
            [_effect(claim, row) for row in rows],
            [_size(decided.studies, row) for row in rows],
            [_detectable(row) for row in rows],
            [row.verdict for row in rows],
            [linked(row.study, "claims.csv") for row in rows],
        ]
        for shared in (1, 4, 7):
            if len({*cells[shared]}) == 1:
                cells[shared] = cells[shared][:1]
        empty = ["–"] * 6 + [NOT_RUN, "–"]
        lines.append([head, *("<br>".join(cell) or none for cell, none in zip(cells, empty, strict=True))])
    return unpadded(lines, HEADINGS)


def _tested(cited: Cited) -> bool:
    return cited.verdict != NOT_TESTABLE and not _by_arithmetic(cited)


def _effect(claim: Claim, cited: Cited) -> str:
    """Return a row's effect, with what its interval must exclude where that is not the value of no effect."""
    limits = Condition.of(claim, cited.effect.neutral).limits
    if claim.effect == "ratio":
        limits = [math.exp(limit) for limit in limits]
    if limits == [claim.neutral]:
        return str(cited.effect)
    threshold = " to ".join(f"{limit:.4g}" for limit in limits)
    return f"{cited.effect}; {'threshold' if len(limits) == 1 else 'must lie within'} {threshold}"


def _published(decided: Decided, claim: Claim, ratio: float | None) -> str:
    ends = decided.published(claim, ratio)
    digits = 4 if claim.threshold == "published" else 3  # as many as the threshold that is computed from it
    return " to ".join(f"{end:.{digits}g}" for end in ends).replace("-", "−") or "–"


def _by_arithmetic(cited: Cited) -> bool:
    return cited.claim is not None and cited.claim.basis == ARITHMETIC


def _size(studies: Studies, cited: Cited) -> str:
    row = cited.row
    if _by_arithmetic(cited):
        return "by arithmetic"
    if not studies.results(cited.study).declared.find(row.measure, row.metric).metric.repeatable:
        return f"{row.draws} runs"
    resamples = f" + {row.resamples} resamples" if row.draws == 1 and row.resamples > 1 else ""
    return f"{row.draws}{resamples} × {row.n}"


def _detectable(cited: Cited) -> str:
    unknown = _by_arithmetic(cited) or pd.isna(cited.row.detectable)
    return "–" if unknown else f"{cited.row.detectable:{'.2f' if cited.row.neutral else '.2g'}}"
