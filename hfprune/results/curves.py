"""The curves of scorings and recoveries, by what they have read: as records have them, and as tables of points."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hfprune.cells import CELL_COLUMNS, Cell
from hfprune.cells.items import by_item, token_items
from hfprune.criteria import CRITERIA
from hfprune.results.effect import Effect
from hfprune.settings.recovery import half
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw, Outcomes, contrast
from hfprune.study.study import Study

MARK = ["sequences", "agreement"]
POINT = ["step", "tokens", "loss", "stderr", "n", "doubling"]
# The allocation is the budget's division among layers.
SCORED = ["criterion", "units", "calibration", "allocation"]


def curve(measure: str, provenance: Mapping[str, Any], *, losses: bool = False) -> list[dict[str, object]]:
    """Return the points of the curve of a scoring (measure `cost`) or a recovery, as they stand in JSON.

    Args:
        measure: what the provenance is of.
        provenance: holds the curve, and of a recovery `held_out_tokens`.
        losses: whether points of a recovery have the losses of sequences.

    Returns:
        Of a scoring `sequences`, and `agreement` of two halves of them on the neurons to keep. Of a recovery
        `step`, the optimizer steps before the point, 0 before the training; `tokens`, those of the sequences that
        these have read, prompts and padding included; `loss` in nats per response token, with its `stderr` over
        `n` held-out sequences, whose means over tokens are `losses`. `doubling` is the loss minus that after half
        of the steps, if it was measured, in pairs on the same sequences: a `value` with the ends of its 95 %
        interval over held-out sequences, `low` and `high`, for this one training.
    """
    points = provenance.get("curve", [])
    if measure == "cost":
        return [{key: mark[key] for key in MARK} for mark in points]
    known, rows = {point["step"]: point for point in points}, list[dict[str, object]]()
    for step, point in known.items():
        row = {key: point[key] for key in POINT[:4]} | {"n": len(point["losses"])}
        row |= {"losses": point["losses"]} if losses else {}
        if step > 1 and half(step) in known:
            sides = (
                _outcomes(x["losses"], provenance["held_out_tokens"]) for x in (point, known[half(step)])
            )
            it = estimate(contrast([*zip((1.0, -1.0), sides, strict=True)]))
            row["doubling"] = {"value": it.value, "low": it.low, "high": it.high}
        rows.append(row)
    return rows


def _outcomes(losses: list[float], tokens: list[int]) -> Outcomes:
    return {None: {"": by_item(token_items(losses, tokens), "loss")}}


def learning_curves(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per point of every recovery's learning curve.

    `curve` explains the columns `POINT`; `doubling` is an `Effect`, of an unknown value where it was not measured.
    """
    points = _exploded(records, "recovery", [*CELL_COLUMNS[1:]], POINT)
    unknown = {"value": math.nan}
    effects = [Effect(**(known if isinstance(known, dict) else unknown)) for known in points["doubling"]]
    return points.assign(doubling=pd.Series(effects, points.index, dtype=object))


def held_out_losses(records: pd.DataFrame) -> dict[Cell, dict[int, Outcomes]]:
    """Return the losses of held-out sequences by the cell of draw 0, then by step.

    Only the steps of which all draws of a cell have them.
    """
    levels: dict[Cell, dict[Draw | None, dict[int, Mapping[str, pd.Series]]]] = {}
    for record in records[records["measure"] == "recovery"].itertuples():
        tokens = json.loads(record.more).get("held_out_tokens", [])
        points = [point for point in json.loads(record.curve) if "losses" in point]
        by_step = {point["step"]: _outcomes(point["losses"], tokens)[None] for point in points}
        cell = Cell(**{name: getattr(record, name) for name in CELL_COLUMNS} | {"draw": 0})
        levels.setdefault(cell, {})[Draw(record.draw)] = by_step
    return {
        cell: {
            step: {draw: by_step[step] for draw, by_step in draws.items()}
            for step in sorted(set.intersection(*map(set, draws.values())))
        }
        for cell, draws in levels.items()
    }


def marks(records: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return one row per mark of every scoring.

    `criterion` names the criterion, the options that differ among the scorings, and the steps where the method has
    several (the marks are of the first); `units` and `allocation` (the rule) are the method's.
    """
    of = ["model", "method", "calibration", "draw"]
    rows = _exploded(records, "cost", of, MARK)
    scored = {name: method for name, method in study.methods.items() if name in {*rows["method"]}}
    settings = [dict(CRITERIA.make(x.criterion or name, x.options, name)) for name, x in scored.items()]
    counts = pd.DataFrame([{key: str(value) for key, value in own.items()} for own in settings]).nunique()
    about = []
    for (name, method), own in zip(scored.items(), settings, strict=True):
        differing = [f"{key} {own[key]}" for key in sorted(own) if counts[key] > 1]
        steps = [f"{method.steps} steps"] if method.steps > 1 else []
        criterion = ", ".join([method.criterion or name, *differing, *steps])
        about.append([name, criterion, ", ".join(sorted(method.units)), method.allocation.rule])
    named = pd.DataFrame(about, columns=["method", "criterion", "units", "allocation"])
    return rows.merge(named, "left")


def _exploded(records: pd.DataFrame, measure: str, of: list[str], points: list[str]) -> pd.DataFrame:
    rows = [
        {key: getattr(record, key) for key in of} | point
        for record in records[records["measure"] == measure].itertuples()
        for point in json.loads(record.curve)
    ]
    return pd.DataFrame(rows, columns=[*of, *points])
