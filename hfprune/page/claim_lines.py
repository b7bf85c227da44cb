"""The claims of the paper, each on one line with its details."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS
from hfprune.page.study_results import StudyResults, number, percent, shown_with_interval
from hfprune.report.charts import FOCUS
from hfprune.report.style import metric_label

NOT_RUN = "not run"
# A sign before the word of a verdict; verdicts that are not listed have a neutral one.
SIGNS = {
    **{"reproduced": "✓", "contradicted": "✗", "inconclusive": "?", "equivalent": "=", "one draw": "○"},
    **{"not testable": "⊘", "not comparable": "≠", "not applicable": "∅", NOT_RUN: "–"},
}
# Columns that the table of a claim shows as they are.
EXTRA = ("margin", "basis", "resamples", "minimum_detectable_effect", "needs")


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
    found = [_row(row, extra) for row in rows.to_dict("records")]
    models = {*study.data.results["model"]}
    own = [row for row in found if names.get(row["model"], row["model"]) in models] or found
    counts = Counter(row["verdict"] for row in own if row["metric"] != AVERAGE_WITHOUT_CROWS)
    shown = min(own, key=_rank)
    return {
        "study": study.name,
        **rows[["claim", "sentence", "where"]].iloc[0].astype(str),
        "verdicts": [
            {"verdict": name, "sign": SIGNS.get(name, "•"), "count": count}
            for name, count in counts.most_common()
        ],
        "shown": shown | {"published": shown["published"] or _range(shown, found)},
        "rows": found,
        "extra": [name.replace("_", " ").capitalize() for name in extra],
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


def _row(row: dict[str, Any], extra: list[str]) -> dict[str, Any]:
    digits = 2 if row["unit"] in ("points", "ratio") else 4
    sign = "" if row["unit"] == "ratio" or "logarithms" in str(row["unit"]) else "+"
    form = f"{{:{sign}.{digits}f}}"
    text = {name: "" if pd.isna(value) else str(value) for name, value in row.items()}
    effect, interval = shown_with_interval(
        *(form, row["effect"], row["low"], row["high"]),
        neutral=float(row["threshold"]),
        ratio=row["unit"] == "ratio",
    )
    published = number(row["published"], form)
    doubt = f" ({text['confidence']})" if text["confidence"] in ("suspect", "tentative") and published else ""
    return {
        **{name: text[name] for name in ("model", "metric", "unit", "verdict", "anomalies", "note")},
        "ratio": None if pd.isna(row["ratio"]) else float(row["ratio"]),
        "removed": percent(row["ratio"]),
        "metric_name": metric_label(text["metric"]),
        "sides": f"{text['left']} against {text['right']}" if text["left"] else "",
        "holds": f"{'above' if text['relation'] == 'higher' else 'below'} {row['threshold']:g}",
        "effect": effect,
        "interval": interval,
        "n": _count(row["n"]),
        "draws": _count(row["draws"]),
        "published": published + doubt,
        "published_number": published,
        "sign": SIGNS.get(text["verdict"], "•"),
        "extra": [text[name] for name in extra],
        "effect_value": None if pd.isna(row["effect"]) else float(row["effect"]),
        "published_value": None if pd.isna(row["published"]) else float(row["published"]),
    }


def _count(count: Any) -> str:
    return "" if pd.isna(count) or not count else f"{int(count):,}"
