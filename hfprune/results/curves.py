"""The curves of scorings and recoveries over what they have read, as in records and as tables of points."""

import json
import math
from collections.abc import Mapping

import pandas as pd

from hfprune.cells import CELL_COLUMNS, Cell
from hfprune.cells.items import by_item, token_items
from hfprune.results.effect import Effect
from hfprune.runs import Provenance
from hfprune.settings.recovery import half
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw, Outcomes, contrast

MARK = ["sequences", "agreement"]
POINT = ["step", "tokens", "loss", "stderr", "n", "doubling"]


def curve(measure: str, provenance: Provenance, *, losses: bool = False) -> list[dict[str, object]]:
    """Return the points of the curve of a scoring (measure `cost`) or a recovery, as they stand in JSON.

    Args:
        measure: the measure of the provenance.
        provenance: holds the curve and, for a recovery, `held_out_tokens`.
        losses: whether points of a recovery include the losses of sequences.

    Returns:
        For a scoring, `sequences`, and `agreement` of two halves of them on the neurons to keep. For a recovery,
        `step`, the optimizer steps before the point, 0 before the training; `tokens`, the number that these steps
        have read, prompts and padding included; `loss` in nats per response token, with its `stderr` over `n`
        held-out sequences, whose means over tokens are `losses`. `doubling`, if measured, is the loss minus that
        after half of the steps, paired by sequence: a `value` with `low` and `high`, the ends of its 95 % interval
        over held-out sequences for this one training.
    """
    points = provenance.get("curve", [])
    if measure == "cost":
        return [{key: mark[key] for key in MARK} for mark in points]
    by_step, rows = {point["step"]: point for point in points}, list[dict[str, object]]()
    for step, point in by_step.items():
        row = {key: point[key] for key in POINT[:4]} | {"n": len(point["losses"])}
        if losses:
            row["losses"] = point["losses"]
        if step > 1 and half(step) in by_step:
            sides = (
                _outcomes(x["losses"], provenance["held_out_tokens"]) for x in (point, by_step[half(step)])
            )
            change = estimate(contrast([*zip((1.0, -1.0), sides, strict=True)]))
            row["doubling"] = {"value": change.value, "low": change.low, "high": change.high}
        rows.append(row)
    return rows


def _outcomes(losses: list[float], tokens: list[int]) -> Outcomes:
    return {None: {"": by_item(token_items(losses, tokens), "loss")}}


def learning_curves(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per point of every recovery's learning curve.

    `curve` explains the columns `POINT`; `doubling` is an `Effect`, whose value is NaN where it was not measured.
    """
    points = _exploded(records, "recovery", [*CELL_COLUMNS[1:]], POINT)
    unknown = {"value": math.nan}
    effects = [Effect(**(change if isinstance(change, dict) else unknown)) for change in points["doubling"]]
    return points.assign(doubling=pd.Series(effects, points.index, dtype=object))


def held_out_losses(records: pd.DataFrame) -> dict[Cell, dict[int, Outcomes]]:
    """Return the losses of held-out sequences by the cell of draw 0, then by step.

    Only steps at which all draws of a cell have losses are included.
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


def _exploded(records: pd.DataFrame, measure: str, names: list[str], points: list[str]) -> pd.DataFrame:
    rows = [
        {key: getattr(record, key) for key in names} | point
        for record in records[records["measure"] == measure].itertuples()
        for point in json.loads(record.curve)
    ]
    return pd.DataFrame(rows, columns=[*names, *points])
