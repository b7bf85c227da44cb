"""The curves of scorings and recoveries, by what they have read: as records have them, and as tables of points."""

import json
from typing import Any

import pandas as pd

from hfprune.cells import CELL_COLUMNS, Cell
from hfprune.cells.items import token_items
from hfprune.criteria import CRITERIA
from hfprune.runs import Provenance
from hfprune.settings.recovery import half
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw, Outcomes, contrast
from hfprune.study.study import Study

MARK = ["sequences", "agreement"]
POINT = ["step", "tokens", "loss", "stderr", "n", "doubling", "doubling_low", "doubling_high"]
# The allocation is the budget's division among layers.
SCORED = ["criterion", "units", "calibration", "allocation"]
# The coordinates of a recovered model, but for the draw.
OF_MODEL = [name for name in CELL_COLUMNS if name not in ("study", "draw")]


def curve(measure: str, made: Provenance, *, losses: bool = False) -> list[dict[str, Any]]:
    """Return the points of the curve of a scoring (measure `cost`) or a recovery, from its provenance.

    Args:
        measure: what the provenance is of.
        made: the provenance.
        losses: whether points of a recovery have the losses of sequences.

    Returns:
        Of a scoring `sequences`, and `agreement` of two halves of them on the neurons to keep. Of a recovery
        `step`, the optimizer steps before the point, 0 before the training; `tokens`, those of the sequences that
        these have read, prompts and padding included; `loss` in nats per response token, with its `stderr` over
        `n` held-out sequences, whose means over tokens are `losses`. `doubling` is the loss minus that after half
        of the steps, if it was measured, in pairs on the same sequences; `doubling_low` and `doubling_high` are
        the ends of its 95 % interval over held-out sequences, for this one training.
    """
    points = made.get("curve", [])
    if measure == "cost":
        return [{key: mark[key] for key in MARK} for mark in points]
    known, rows = {point["step"]: point for point in points}, list[dict[str, Any]]()
    for step, point in known.items():
        row = {key: point[key] for key in POINT[:4]} | {"n": len(point["losses"])}
        row |= {"losses": point["losses"]} if losses else {}
        if step > 1 and half(step) in known:
            sides = (_outcomes(x["losses"], made["held_out_tokens"]) for x in (point, known[half(step)]))
            found = estimate(contrast([*zip((1.0, -1.0), sides, strict=True)]))
            row |= dict(zip(POINT[5:], (found.value, found.low, found.high), strict=True))
        rows.append(row)
    return rows


def _outcomes(losses: list[float], tokens: list[int]) -> Outcomes:
    return {None: {"": token_items(losses, tokens).set_index(["item", "document"])["loss"]}}


def learning_curves(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per point of every recovery's learning curve; `curve` explains the columns `POINT`."""
    return _exploded(records, "recovery", [*CELL_COLUMNS[1:]], POINT)


def level_of(cell: Cell) -> tuple[Any, ...]:
    """Return the coordinates of a cell but for its draw (`OF_MODEL`)."""
    return tuple(getattr(cell, name) for name in OF_MODEL)


def held_out_losses(records: pd.DataFrame) -> dict[tuple[Any, ...], dict[int, Outcomes]]:
    """Return the losses of held-out sequences by the coordinates `OF_MODEL`, then by step.

    Only the steps of which all draws of a cell have them.
    """
    found: dict[tuple[Any, ...], dict[Draw | None, dict[int, Any]]] = {}
    for record in records[records["measure"] == "recovery"].itertuples():
        tokens = json.loads(record.more).get("held_out_tokens", [])
        points = [point for point in json.loads(record.curve) if "losses" in point]
        by_step = {point["step"]: _outcomes(point["losses"], tokens)[None] for point in points}
        cell = tuple(getattr(record, name) for name in OF_MODEL)
        found.setdefault(cell, {})[Draw(record.draw)] = by_step
    return {
        cell: {
            step: {draw: by_step[step] for draw, by_step in draws.items()}
            for step in sorted(set.intersection(*map(set, draws.values())))
        }
        for cell, draws in found.items()
    }


def marks(records: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return one row per mark of every scoring.

    `criterion` names the criterion, the options that differ among the scorings, and the steps where the method has
    several (the marks are of the first); `units` and `allocation` (the rule) are the method's.
    """
    of = ["model", "method", "calibration", "draw"]
    rows = _exploded(records, "cost", of, MARK)
    scored = {name: method for name, method in study.methods.items() if name in {*rows["method"]}}
    made = [dict(CRITERIA.make(x.criterion or name, x.options, name)) for name, x in scored.items()]
    counts = pd.DataFrame([{key: str(value) for key, value in own.items()} for own in made]).nunique()
    about = []
    for (name, method), own in zip(scored.items(), made, strict=True):
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
