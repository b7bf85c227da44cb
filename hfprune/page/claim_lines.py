"""The claims of the paper, each on one line with its details."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import pandas as pd

from hfprune.effects.condition import (
    CONTRADICTED,
    EQUIVALENT,
    FALSE,
    INCONCLUSIVE,
    LEANING_AGAINST,
    LEANING_TOWARDS,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    NOT_TESTABLE,
    ONE_DRAW,
    REPRODUCED,
    TRUE,
)
from hfprune.page.study_results import StudyResults
from hfprune.report.charts import FOCUS
from hfprune.report.effects import effects_of
from hfprune.results.averages import AVERAGE_WITHOUT_CROWS
from hfprune.results.declarations import Declarations
from hfprune.results.effect import Effect
from hfprune.rounding import percent, written

# A sign before the word of a verdict; verdicts that are not listed have a neutral one.
SIGNS = {
    **{REPRODUCED: "✓", CONTRADICTED: "✗", LEANING_TOWARDS: "↗", LEANING_AGAINST: "↘"},
    **{INCONCLUSIVE: "?", EQUIVALENT: "=", ONE_DRAW: "○", NOT_TESTABLE: "⊘", NOT_COMPARABLE: "≠"},
    **{NOT_APPLICABLE: "∅", NOT_RUN: "–", TRUE: "∎", FALSE: "≢"},
}
# Columns that the table of a claim shows as they are, and their headings.
EXTRA = {
    "threshold": "Threshold",
    "basis": "Basis",
    "resamples": "Resamples",
    "detectable": "Minimum detectable effect",
    "holm": "Holm's p",
    "needs": "Needs",
}


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim: texts as the table shows them, and the numbers that rank it."""

    model: str
    calibrated: str
    metric: str
    metric_name: str
    verdict: str
    anomalies: str
    note: str
    condition: str
    removed: str
    unit: str
    sides: str
    effect: str
    interval: str
    n: str
    draws: str
    published: str
    published_number: str
    """The published number without its confidence."""
    extra: list[str]
    """Under the headings of its line's `extra`."""
    ratio: float | None
    effect_value: float | None
    published_value: float | None


@dataclass(frozen=True)
class ClaimLine:
    """A claim in one study; a claim that no study ran has a single line for all studies."""

    study: str
    sentence: str
    where: str
    compares: str
    verdicts: list[tuple[str, int]]
    """Each with its number of comparisons of the study's own models, the most frequent first."""
    shown: Comparison
    """The comparison shown on the line, one of `rows`."""
    rows: list[Comparison]
    extra: list[str]
    """Headings of further columns."""


def lines(studies: Sequence[StudyResults]) -> list[ClaimLine]:
    """Return every claim of every study, with the studies of a claim one after the other.

    Claims that ran come first. A claim that no study ran has one line for all.
    """
    names = {published: name for study in studies for name, published in study.data.printed.models.items()}
    groups: dict[str, list[ClaimLine]] = {}
    for study in studies:
        if len(study.data.claims):
            for claim, rows in study.data.claims.groupby("claim", sort=False):
                groups.setdefault(str(claim), []).append(_line(study, rows, names))
    ran, others = [], []
    for group in groups.values():
        if any(verdict != NOT_RUN for line in group for verdict, _ in line.verdicts):
            ran += group
        else:
            first = group[0]
            same = [row for line in group if line.extra == first.extra for row in line.rows]
            distinct = [row for i, row in enumerate(same) if row not in same[:i]]
            others.append(replace(first, study=", ".join(line.study for line in group), rows=distinct))
    return ran + others


def _line(study: StudyResults, rows: pd.DataFrame, names: Mapping[str, str]) -> ClaimLine:
    extra = [name for name in EXTRA if rows[name].notna().any()]
    comparisons = _comparisons(rows, extra, study.data.declared)
    models = {*study.data.results["model"]}
    own = [row for row in comparisons if names.get(row.model, row.model) in models] or comparisons
    counts = Counter(row.verdict for row in own if row.metric != AVERAGE_WITHOUT_CROWS)
    shown = min(own, key=_rank)
    about = rows.iloc[0]
    return ClaimLine(
        study=study.name,
        sentence=str(about["sentence"]),
        where=str(about["where"]),
        compares=str(about["compares"]),
        verdicts=counts.most_common(),
        shown=replace(shown, published=shown.published or _range(shown, comparisons)),
        rows=comparisons,
        extra=[EXTRA[name] for name in extra],
    )


def _rank(row: Comparison) -> tuple[bool, bool, float]:
    far = 0.0 if row.ratio is None else abs(row.ratio - FOCUS)
    return row.effect_value is None, row.metric == AVERAGE_WITHOUT_CROWS, far


def _range(shown: Comparison, rows: Iterable[Comparison]) -> str:
    """Return the smallest and the largest published number of the models at the same ratio, or ""."""
    same_place = [row for row in rows if (row.ratio, row.metric) == (shown.ratio, shown.metric)]
    numbers = [(row.published_value, row.published_number, row.model) for row in same_place]
    published = [(value, number, model) for value, number, model in numbers if value is not None]
    if not published:
        return ""
    least, most = (func(published, key=lambda entry: entry[0])[1] for func in (min, max))
    return f"{least} ({published[0][2]})" if least == most else f"{least} to {most} (the paper's models)"


def _comparisons(rows: pd.DataFrame, extra: list[str], declared: Declarations) -> list[Comparison]:
    texts = rows.map(lambda value: "" if pd.isna(value) else str(value))
    effects = effects_of(rows, Effect.of_claim)
    records = zip(rows.itertuples(), texts.itertuples(), effects, strict=True)
    return [_comparison(row, text, effect, extra, declared) for row, text, effect in records]


def _comparison(row: Any, text: Any, effect: Effect, extra: list[str], declared: Declarations) -> Comparison:
    """Return the comparison of a row of claims, which is given as numbers and as texts."""
    shown, interval = effect.texts
    published = "" if pd.isna(row.published) else written(row.form, row.published, nan, nan)[0]
    doubt = f" ({text.confidence})" if text.confidence in ("suspect", "tentative") and published else ""
    return Comparison(
        model=text.model,
        calibrated=text.calibrated,
        metric=text.metric,
        metric_name=declared.label_of(text.metric),
        verdict=text.verdict,
        anomalies=text.anomalies,
        note=text.note,
        condition=text.condition,
        removed=percent(row.ratio),
        unit=f"{text.label}, {text.unit}" if text.unit else text.label,
        sides=f"{text.left} against {text.right}" if text.left else "",
        effect=shown,
        interval=interval,
        n=_count(row.n),
        draws=_count(row.draws),
        published=published + doubt,
        published_number=published,
        extra=[getattr(text, name) for name in extra],
        ratio=_number(row.ratio),
        effect_value=_number(row.value),
        published_value=_number(row.published),
    )


def _number(number: float) -> float | None:
    return None if pd.isna(number) else float(number)


def _count(count: float) -> str:
    return "" if pd.isna(count) or not count else f"{int(count):,}"
