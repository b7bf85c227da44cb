"""The figures of the page that Python lays out, as Vega-Lite; `page.js` draws them."""

from typing import Any

import numpy as np

from hfprune.report.comparison import Effect
from hfprune.report.page.study import ALIKE, BETTER, WORSE, StudyResults, number

OTHER = "no interval"
# Colour and shape carry the same, so that either is enough.
LOOKS = {
    BETTER: ("#0072B2", "circle"),
    ALIKE: ("#8C8C8C", "diamond"),
    WORSE: ("#D55E00", "triangle-right"),
    "reference": ("#8C8C8C", "square"),
    OTHER: ("#8C8C8C", "cross"),
    "": ("#0072B2", "circle"),
}
FAR = 4  # effects beyond this multiple of the median would squeeze the others: they stand at the edge


def forest(
    lines: list[dict[str, Any]],
    measure: str,
    effect: Effect | None,
    reference: dict[str, Any] | None,
    words: tuple[str, str, str],
) -> dict[str, Any]:
    """Return the figure of an answer: one line per method, the best on top.

    It shows the difference to the reference, or the value itself if no reference was measured beside it.

    Args:
        lines: rows of `StudyResults.values` with a `label`.
        measure: name of the number.
        effect: presentation of its differences, if it has any.
        reference: one of `lines`.
        words: for the best, a better and a worse method.
    """
    beside = effect is not None and reference is not None
    than = (effect.than or 0.0) if effect else 0.0
    rows = [_row(line, reference, effect, words) for line in lines]
    reach = _reach(rows, than) if beside else np.inf
    for row in rows:
        row["outside"] = bool(abs(row["x"] - than) > reach)
        for end in ("x", "low", "high"):
            row[end] = None if row[end] is None else float(np.clip(row[end], than - reach, than + reach))
    y = {"field": "name", "type": "nominal", "sort": [row["name"] for row in rows], "title": None}
    x: dict[str, Any] = {"type": "quantitative", "title": _title(measure, effect, reference, words)}
    x |= {"scale": {"zero": False, "nice": False, "padding": 12}, "axis": {"tickCount": 5}}
    colour, shape = _looks(rows)
    tooltip = {"label": "Method", "shown": measure, "interval": "95 % interval"}
    if beside:
        tooltip |= {"effect": "Against the reference", "effect_interval": "Its 95 % interval"}
    tooltip |= {"n": "n", "draws": "Draws", "open": "Click"}
    interval = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "transform": [{"filter": "datum.low !== null"}],
        "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}, "color": colour},
    }
    point = {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {"y": y, "x": {"field": "x", **x}, "color": colour, "shape": shape}
        | {"tooltip": [{"field": field, "title": name} for field, name in tooltip.items()]}
        | {"href": {"field": "href"}},
    }
    zero = {
        "data": {"values": [{"than": than}]},
        "mark": {"type": "rule", "strokeDash": [4, 3]},
        "encoding": {"x": {"field": "than", **x}},
    }
    outside = {
        "mark": {"type": "text", "align": "right", "dx": -8, "fontSize": 11},
        "transform": [{"filter": "datum.outside"}],
        "encoding": {"y": y, "x": {"field": "x", **x}, "text": {"field": "effect"}},
    }
    layers: list[dict[str, Any]] = [zero] if beside else []
    layers += [interval] if any(row["low"] is not None for row in rows) else []
    layers += [point]
    layers += [outside] if any(row["outside"] for row in rows) else []
    return {"data": {"values": rows}, "height": 22 * len(rows), "layer": layers}


def _title(
    measure: str, effect: Effect | None, reference: dict[str, Any] | None, words: tuple[str, str, str]
) -> str | list[str]:
    """Return the lines of the title of the axis."""
    if effect is None or reference is None:
        return measure
    left, right = words[1:] if effect.better < 0 else words[:0:-1]
    of = "times" if effect.than else "difference from"
    return [f"{measure}, {of} {reference['label'].lower()}'s", f"← {left}  |  {right} →"]


def _looks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the encodings of the rows' standing as colour and as shape."""
    words = {row["look"]: row["standing"] for row in rows}
    present = [look for look in LOOKS if look in words]
    legend = {"orient": "top", "columns": 4} if any(present) else None
    encoding = {"field": "standing", "type": "nominal", "title": None, "legend": legend}
    domain = [words[look] for look in present]
    return [
        encoding | {"scale": {"domain": domain, "range": [LOOKS[look][i] for look in present]}}
        for i in (0, 1)
    ]


def _row(
    line: dict[str, Any],
    reference: dict[str, Any] | None,
    effect: Effect | None,
    words: tuple[str, str, str],
) -> dict[str, Any]:
    """Return a line's data, x being its difference from the reference, or its value if there is none."""
    found = {
        "name": f"{line['label']}  {line['shown']}",
        "label": line["label"],
        "shown": line["shown"],
        "interval": line["interval"] or "not known",
        "x": line["value"],
        "low": line["low"],
        "high": line["high"],
        "look": "",
        "effect": "–",
        "effect_interval": "–",
        "n": line["n"],
        "draws": line["draws"],
        "open": "opens the result with its provenance" if line["source"] else "goes to what ran",
        "href": line["source"] or "#ran",
    }
    if effect and reference:
        found |= {"low": None, "high": None}
        if line is reference:
            found |= {"x": effect.than or 0.0, "look": "reference"}
        elif line["reference"] == reference["method"]:
            found |= {"x": line["effect"], "low": line["effect_low"], "high": line["effect_high"]}
            found |= {
                "effect": line["effect_shown"],
                "effect_interval": line["effect_interval"] or "not known",
            }
            found["look"] = line["standing"] or OTHER
        else:  # compared with another reference, so that there is no interval against this one
            ours, theirs = line["value"], reference["value"]
            found["x"] = ours / theirs if effect.than else ours - theirs
            found |= {"effect": number(found["x"], effect.shown), "effect_interval": "not compared"}
            found["look"] = OTHER
    return found | {"standing": {BETTER: words[1], WORSE: words[2]}.get(found["look"], found["look"])}


def _reach(rows: list[dict[str, Any]], than: float) -> float:
    """Return how far from `than` the axis reaches."""
    distances = np.array([max(abs(row["x"] - than), *_ends(row, than)) for row in rows])
    own = np.array([abs(row["x"] - than) for row in rows])
    near = distances[own <= FAR * max(float(np.median(own)), 1e-12)]
    return 1.05 * float(near.max()) if len(near) and near.max() > 0 else np.inf


def _ends(row: dict[str, Any], than: float) -> list[float]:
    return [abs(end - than) for end in (row["low"], row["high"]) if end is not None] or [0.0]


def calibration(study: StudyResults) -> list[dict[str, Any]]:
    """Return, for each model, the figure of the agreement of calibration halves by number of sequences."""
    found = []
    for model, marks in study.marks.groupby("model", sort=False):
        curve = marks.groupby(["method", "sequences"], as_index=False)["agreement"].mean()
        if curve.empty or curve["sequences"].nunique() < 2:
            continue
        rows = [
            {"method": row.method, "x": float(row.sequences), "value": float(row.agreement)}
            for row in curve.itertuples(index=False)
        ]
        found.append({"study": study.name, "model": str(model), "rows": rows})
    return found
