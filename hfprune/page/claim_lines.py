"""The claims of the paper, each on one line with its details."""

from collections import Counter
from collections.abc import Sequence
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


def lines(studies: Sequence[StudyResults]) -> list[dict[str, Any]]:
    """Return what the template shows of every claim of every study, studies side by side.

    The claims that ran come first. A claim that ran in no study has one line for all. `verdicts` are on the
    study's own models, the most frequent first; of the `rows`, one per comparison, `shown` stands on the line.
    """
    names = {published: name for study in studies for name, published in study.data.printed.models.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    for study in studies:
        if len(study.data.claims):
            for claim, rows in study.data.claims.groupby("claim", sort=False):
                found.setdefault(str(claim), []).append(_line(study, rows, names))
    ran, others = [], []
    for group in found.values():
        if any(verdict["verdict"] != NOT_RUN for line in group for verdict in line["verdicts"]):
            ran += group
        else:
            same = [row for line in group if line["extra"] == group[0]["extra"] for row in line["rows"]]
            rows = [row for i, row in enumerate(same) if row not in same[:i]]
            others.append(group[0] | {"study": ", ".join(line["study"] for line in group), "rows": rows})
    return ran + others


def _line(study: StudyResults, rows: pd.DataFrame, names: dict[str, str]) -> dict[str, Any]:
    extra = [name for name in EXTRA if rows[name].notna().any()]
    found = [_row(row, extra, study.data.declared) for row in rows.to_dict("records")]
    models = {*study.data.results["model"]}
    own = [row for row in found if names.get(row["model"], row["model"]) in models] or found
    counts = Counter(row["verdict"] for row in own if row["metric"] != AVERAGE_WITHOUT_CROWS)
    shown = min(own, key=_rank)
    return {
        "study": study.name,
        **rows[["claim", "sentence", "where", "compares"]].iloc[0].astype(str),
        "verdicts": [
            {"verdict": name, "sign": SIGNS.get(name, "•"), "count": count}
            for name, count in counts.most_common()
        ],
        "shown": shown | {"published": shown["published"] or _range(shown, found)},
        "rows": found,
        "extra": [EXTRA[name] for name in extra],
    }


def _rank(row: dict[str, Any]) -> tuple[bool, bool, float]:
    far = 0.0 if row["ratio"] is None else abs(row["ratio"] - FOCUS)
    return row["effect_value"] is None, row["metric"] == AVERAGE_WITHOUT_CROWS, far


def _range(shown: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    alike = [row for row in rows if row["ratio"] == shown["ratio"] and row["metric"] == shown["metric"]]
    values = [row for row in alike if row["published_value"] is not None]
    if not values:
        return ""
    ends = [func(values, key=lambda row: row["published_value"])["published_number"] for func in (min, max)]
    return (
        f"{ends[0]} ({values[0]['model']})"
        if ends[0] == ends[1]
        else f"{' to '.join(ends)} (the paper's models)"
    )


def _row(row: dict[str, Any], extra: list[str], declared: Declarations) -> dict[str, Any]:
    text = {name: "" if pd.isna(value) else str(value) for name, value in row.items()}
    effect, interval = Effect.of_claim(row).texts
    published = "" if pd.isna(row["published"]) else written(row["form"], row["published"], nan, nan)[0]
    doubt = f" ({text['confidence']})" if text["confidence"] in ("suspect", "tentative") and published else ""
    return {
        "calibrated": text["calibrated"],
        **{name: text[name] for name in ("model", "metric", "verdict", "anomalies", "note", "condition")},
        "ratio": None if pd.isna(row["ratio"]) else float(row["ratio"]),
        "removed": percent(row["ratio"]),
        "metric_name": declared.label_of(text["metric"]),
        "unit": text["label"] + f", {text['unit']}" * bool(text["unit"]),
        "sides": f"{text['left']} against {text['right']}" if text["left"] else "",
        "effect": effect,
        "interval": interval,
        "n": _count(row["n"]),
        "draws": _count(row["draws"]),
        "published": published + doubt,
        "published_number": published,
        "sign": SIGNS.get(text["verdict"], "•"),
        "extra": [text[name] for name in extra],
        "effect_value": None if pd.isna(row["value"]) else float(row["value"]),
        "published_value": None if pd.isna(row["published"]) else float(row["published"]),
    }


def _count(count: Any) -> str:
    return "" if pd.isna(count) or not count else f"{int(count):,}"
