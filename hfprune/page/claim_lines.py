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
Comparison = dict[str, Any]
"""One comparison of a claim: texts as the table shows them, and the numbers that rank it, or None."""


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
    own = [row for row in comparisons if names.get(row["model"], row["model"]) in models] or comparisons
    counts = Counter(row["verdict"] for row in own if row["metric"] != AVERAGE_WITHOUT_CROWS)
    shown = min(own, key=_rank)
    about = rows.iloc[0]
    return ClaimLine(
        study=study.name,
        sentence=str(about["sentence"]),
        where=str(about["where"]),
        compares=str(about["compares"]),
        verdicts=counts.most_common(),
        shown=shown | {"published": shown["published"] or _range(shown, comparisons)},
        rows=comparisons,
        extra=[EXTRA[name] for name in extra],
    )


def _rank(row: Comparison) -> tuple[bool, bool, float]:
    far = 0.0 if row["ratio"] is None else abs(row["ratio"] - FOCUS)
    return row["effect_value"] is None, row["metric"] == AVERAGE_WITHOUT_CROWS, far


def _range(shown: Comparison, rows: Iterable[Comparison]) -> str:
    """Return the smallest and the largest published number of the models at the same ratio, or ""."""
    at = shown["ratio"], shown["metric"]
    same_place = [row for row in rows if (row["ratio"], row["metric"]) == at]
    published = [row for row in same_place if row["published_value"] is not None]
    if not published:
        return ""
    ends = [func(published, key=lambda row: row["published_value"]) for func in (min, max)]
    least, most = (row["published_number"] for row in ends)
    if least == most:
        return f"{least} ({published[0]['model']})"
    return f"{least} to {most} (the paper's models)"


def _comparisons(rows: pd.DataFrame, extra: list[str], declared: Declarations) -> list[Comparison]:
    """Return the comparisons of a claim; `extra` are further columns, as a list."""
    texts = rows.map(lambda value: "" if pd.isna(value) else str(value))
    printed = [
        written(form, value, nan, nan)[0] for form, value in zip(rows["form"], rows["published"], strict=True)
    ]
    doubts = [
        f" ({word})" if word in ("suspect", "tentative") and number else ""
        for word, number in zip(texts["confidence"], printed, strict=True)
    ]
    effects = [effect.texts for effect in effects_of(rows, Effect.of_claim)]
    numbers = rows[["ratio", "value", "published"]].astype(object)
    numbers.columns = ["ratio", "effect_value", "published_value"]
    shown = texts[["model", "calibrated", "metric", "verdict", "anomalies", "note", "condition"]].assign(
        metric_name=[declared.label_of(metric) for metric in texts["metric"]],
        removed=rows["ratio"].map(percent),
        unit=texts["label"] + texts["unit"].map(lambda unit: f", {unit}" if unit else ""),
        sides=(texts["left"] + " against " + texts["right"]).where(texts["left"] != "", ""),
        effect=[number for number, _ in effects],
        interval=[interval for _, interval in effects],
        n=rows["n"].map(_count),
        draws=rows["draws"].map(_count),
        published=[number + doubt for number, doubt in zip(printed, doubts, strict=True)],
        published_number=printed,
        extra=texts[extra].to_numpy().tolist(),
    )
    return shown.join(numbers.where(numbers.notna(), None)).to_dict("records")


def _count(count: float) -> str:
    return "" if pd.isna(count) or not count else f"{int(count):,}"
