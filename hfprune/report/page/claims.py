"""The claims of the paper, each on one line with its details."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.analysis.averages import AVERAGE_WITHOUT_CROWS
from hfprune.paper.published import read_published
from hfprune.report.figures.drawing import FOCUS
from hfprune.report.page.study import StudyResults, number
from hfprune.report.style import metric_label

NOT_RUN = "not run"
# A sign before the word of a verdict; verdicts that are not listed have a neutral one.
SIGNS = {
    "reproduced": "✓",
    "contradicted": "✗",
    "inconclusive": "?",
    "equivalent": "=",
    "one draw": "1",
    "not comparable": "≠",
    "not applicable": "∅",
    NOT_RUN: "–",
}
# Columns that the line and the table show in their own way; the rest of a claim's columns follow as they are.
OWN = {
    *(
        "claim",
        "model",
        "kind",
        "ratio",
        "metric",
        "left",
        "right",
        "unit",
        "relation",
        "threshold",
        "sentence",
        "compares",
        "condition",
        "where",
    ),
    *(
        "effect",
        "low",
        "high",
        "n",
        "seeds",
        "draws",
        "published",
        "confidence",
        "verdict",
        "anomalies",
        "note",
    ),
}
SIDES = {"higher": "above", "lower": "below", "about": "about"}
NUMBERS = ("effect", "low", "high", "published")


@dataclass(frozen=True)
class Line:
    """A claim in one study, or one that ran in none of several."""

    study: str
    claim: str
    sentence: str
    where: str
    verdicts: list[dict[str, Any]]
    """Verdicts on the study's own models, the most frequent first: `verdict`, `sign`, `count`."""
    shown: dict[str, Any]
    """The row that stands on the line."""
    rows: list[dict[str, Any]]
    drawing: tuple[float, float] | None
    """Ends of the axis of the drawn intervals."""
    extra: list[str]
    """Columns of the rows' `extra`."""


def lines(studies: Sequence[StudyResults], paper: Path) -> list[Line]:
    """Return every claim of every study, studies side by side.

    The claims that ran come first. A claim that ran in no study has one line for all of them.
    """
    names = {published: name for name, published in read_published(paper).names.items()}
    found: dict[str, list[Line]] = {}
    for study in studies:
        if study.claims.empty:
            continue
        for claim, rows in study.claims.groupby("claim", sort=False):
            found.setdefault(str(claim), []).append(_line(study, rows, names))
    ran, others = [], []
    for group in found.values():
        if any(verdict["verdict"] != NOT_RUN for line in group for verdict in line.verdicts):
            ran += group
        else:
            merged: list[dict[str, Any]] = []
            for line in group:
                merged += [row for row in line.rows if row not in merged and line.extra == group[0].extra]
            others.append(replace(group[0], study=", ".join(line.study for line in group), rows=merged))
    return ran + others


def _line(study: StudyResults, rows: pd.DataFrame, names: dict[str, str]) -> Line:
    first = rows.iloc[0]
    extra = [name for name in rows if name not in OWN and rows[name].notna().any()]
    found = [_row(row, extra) for row in rows.to_dict("records")]
    models = {*study.tidy["model"]}
    own = [row for row in found if names.get(row["model"], row["model"]) in models] or found
    counts = Counter(row["verdict"] for row in own if row["metric"] != AVERAGE_WITHOUT_CROWS)
    ends = [
        end
        for row in found
        for end in (row["low_value"], row["high_value"], row["effect_value"], row["published_value"])
        if end is not None and row["effect_value"] is not None
    ]
    ends += [float(first["threshold"])] if ends else []
    return Line(
        study=study.name,
        claim=str(first["claim"]),
        sentence=str(first["sentence"]),
        where=str(first["where"]),
        verdicts=[
            {"verdict": name, "sign": SIGNS.get(name, "•"), "count": count}
            for name, count in counts.most_common()
        ],
        shown=min(own, key=_rank) | {"published": _published(own, found)},
        rows=found,
        drawing=(min(ends), max(ends)) if ends else None,
        extra=extra,
    )


def _rank(row: dict[str, Any]) -> tuple[bool, bool, float]:
    """Return the order in which rows may stand for a claim: measured, by the paper's average, near the focus."""
    far = 0.0 if row["ratio"] is None else abs(row["ratio"] - FOCUS)
    return row["effect_value"] is None, row["metric"] == AVERAGE_WITHOUT_CROWS, far


def _published(own: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """Return the published effect of the row on the line, or the range over the paper's models at its ratio."""
    shown = min(own, key=_rank)
    if shown["published_value"] is not None:
        return str(shown["published"])
    alike = [row for row in rows if row["ratio"] == shown["ratio"] and row["metric"] == shown["metric"]]
    values = [row for row in alike if row["published_value"] is not None]
    if not values:
        return ""
    ends = [func(values, key=lambda row: row["published_value"])["published_number"] for func in (min, max)]
    if ends[0] == ends[1]:
        return f"{ends[0]} ({values[0]['model']})"
    return f"{ends[0]} to {ends[1]} (the paper's models)"


def _row(row: dict[str, Any], extra: list[str]) -> dict[str, Any]:
    digits = 2 if row["unit"] in ("points", "ratio") else 4
    sign = "" if row["unit"] == "ratio" or "logarithms" in str(row["unit"]) else "+"
    values = {name: None if pd.isna(row[name]) else float(row[name]) for name in NUMBERS}
    form = f"{{:{sign}.{digits}f}}"
    shown = {name: "" if value is None else number(value, form) for name, value in values.items()}
    text = {name: "" if pd.isna(row.get(name)) else str(row[name]) for name in row}
    doubt = text["confidence"] if text["confidence"] in ("suspect", "tentative") else ""
    ratio = None if pd.isna(row["ratio"]) else float(row["ratio"])
    draws = row.get("draws", row.get("seeds"))  # older tables call the column `seeds`
    return {
        "model": text["model"],
        "ratio": ratio,
        "removed": "" if ratio is None else f"{100 * ratio:.3g}\N{NO-BREAK SPACE}%",
        "metric": text["metric"],
        "metric_name": metric_label(text["metric"]),
        "sides": f"{text['left']} against {text['right']}" if text["left"] else "",
        "unit": text["unit"],
        "holds": f"{'above' if text['relation'] == 'higher' else 'below'} {row['than']:g}",
        "than": float(row["threshold"]),
        "effect": shown["effect"],
        "interval": f"{shown['low']} to {shown['high']}" if shown["low"] and shown["high"] else "",
        "n": _count(row["n"]),
        "draws": _count(draws),
        "published": f"{shown['published']} ({doubt})"
        if doubt and shown["published"]
        else shown["published"],
        "published_number": shown["published"],
        "verdict": text["verdict"],
        "sign": SIGNS.get(text["verdict"], "•"),
        "anomalies": text["anomalies"],
        "note": text["note"],
        "extra": [text[name] for name in extra],
        **{f"{name}_value": value for name, value in values.items()},
    }


def _count(count: Any) -> str:
    return "" if count is None or pd.isna(count) or not count else f"{int(count):,}"
