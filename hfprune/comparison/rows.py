"""The rows of a comparison of two models, which are rows of the table of effects, from paired outcomes."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS
from hfprune.assets.models import WEIGHTS
from hfprune.cells import DENSE
from hfprune.cells.items import by_item, commonest, guess
from hfprune.comparison.before_after import (
    CAPABILITY,
    LEARNING,
    PRUNED,
    RECOVERED,
    REPEATS,
    SIZE,
    SPEED,
    STORAGE,
    TASK,
    Measured,
    Sides,
    class_of,
    spelt,
    timed,
)
from hfprune.effects.questions import GAIN, TO_DENSE
from hfprune.measurement import MEASURES, Metric
from hfprune.results.declarations import Declaration, Declarations
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import ITEMS_ALONE, EffectRow, corrected, row_of
from hfprune.statistics.estimates import Estimate, estimate
from hfprune.statistics.outcomes import NotComparableError, Outcomes, contrast


def _counted(measure: str, name: str, label: str, shown: str, **more: Any) -> Declaration:
    return Declaration(measure, measure, False, Metric(name, label, shown=shown, **more))


PARAMETERS = _counted(SIZE, "parameters", "parameters", "{:,.0f}", effect="ratio")
WEIGHTS_FILE = _counted(SIZE, "weights_file", "file size of the weights, MB", "{:,.1f}", effect="ratio")
HELD_OUT = _counted(LEARNING, "loss", "held-out loss of recovery, from its start", "{:.3f}", better="lower")
REPEATED = _counted(
    REPEATS, "repeated", "repeated 4-grams of greedy text, %", "{:.1f}", unit="%", better="lower", scale=100
)
PREFILL = _counted(
    SPEED,
    "prefill_seconds",
    "prefill of {} tokens, ms",
    "{:,.1f}",
    better="lower",
    scale=1000,
    effect="ratio",
)
DECODING = _counted(
    SPEED, "decode_tokens_per_second", "decoding, tokens a second", "{:,.1f}", better="higher", effect="ratio"
)


def paired(tables: list[pd.DataFrame], column: str) -> Estimate | None:
    """Estimate the mean outcome of one model, or its paired difference between two.

    Args:
        tables: one per model; outcomes by `item`, and by `document` and `source` if they have these columns.
        column: the outcome. Missing ones are left out.

    Returns:
        None if a table lacks the column, the items differ, or they are too few for an interval.
    """
    if not all(column in table for table in tables):
        return None
    sides = [_outcomes(table, column) for table in tables]
    with suppress(NotComparableError):
        difference = estimate(contrast([*zip((1.0, -1.0), sides, strict=False)]))
        return difference if difference.has_interval else None
    return None


def _outcomes(items: pd.DataFrame, column: str) -> Outcomes:
    tasks = items["source"] if "source" in items else np.zeros(len(items))
    return {
        None: {str(task): by_item(rows, column).dropna().sort_index() for task, rows in items.groupby(tasks)}
    }


def effect_row(
    declared: Declaration, left: str, numbers: tuple[float, float], difference: Estimate | None, **more: Any
) -> EffectRow:
    """Return the row of the model `left` against another, the dense one unless `more` names another.

    Args:
        declared: what the numbers mean.
        left: the step of the model.
        numbers: those of the other model (NaN where it has none, as for the distance to itself) and of `left`.
        difference: that of paired outcomes, or of their logarithms for a ratio, which gives the interval.
        more: fields that differ from those that `declared` gives.
    """
    metric, (base, own) = declared.metric, numbers
    ratio = metric.effect == "ratio"
    value = own / base if ratio else own - (0 if math.isnan(base) else base)
    row = row_of(
        difference or Estimate(math.nan),
        declared.shown,
        left=(left, ""),
        right=(DENSE, ""),
        covers=ITEMS_ALONE if difference else "",
        question=TO_DENSE,
        model="",
        calibration="",
        sequences=0,
        ratio=None,
        outcome=declared.outcome,
        measure=declared.measure,
        metric=metric.name,
        base=base,
        value=value,
        p=difference.p_value() if difference else math.nan,
        neutral=declared.neutral,
        better=metric.better,
        unit=declared.unit,
        form=metric.shown if ratio else re.sub(r"\{:,?", "{:+,", metric.shown),
        label=metric.label,
    )
    return row._replace(**more)


def rows_of(
    sides: Sides,
    exported: str,
    parameters: tuple[int, int],
    weights: tuple[int, int],
    repeated: Mapping[str, list[float]],
) -> list[EffectRow]:
    """Return the comparison of a pruned model after each of its steps with its dense model.

    Args:
        sides: of the measures perplexity, fidelity, gold_bpb, tasks and latency, and of recovery.
        exported: the step whose measures are compared.
        parameters: numbers of the dense and the pruned model.
        weights: bytes of the files of weights of the dense and the pruned model.
        repeated: shares of repeated 4-grams in texts by the dense (`before`) and the exported model (`after`), and
            the `document` that each text continues; empty if not measured.
    """
    qualities = qualities_of(sides, exported)
    steps = [*dict.fromkeys(row.method for row in qualities)] or [exported]
    # Numbers that no step after pruning changes, such as the size, are the same after each step.
    once = [*_sizes(exported, parameters, weights), *speeds_of(sides, exported)]
    whole = [row._replace(method=step) for row in once for step in steps]
    return corrected([*qualities, *_repeating(repeated, exported), *_learning(sides), *whole])


def qualities_of(sides: Sides, exported: str) -> list[EffectRow]:
    """Return what each step has lost by the exported step's measures, except bytes, times and training."""
    return [
        compared(sides, step, DENSE, key)
        for key in sides.get(exported, {})
        for step in sides
        if step != DENSE
        and class_of(key[0]) not in (SPEED, LEARNING, STORAGE)
        and key in sides[step]
        and _representing(class_of(key[0]), sides[step][key])
    ]


def compared(sides: Sides, left: str, right: str, key: tuple[str, str]) -> EffectRow:
    """Return what the model after the step `left` has lost against that after `right`, or `DENSE`.

    The row is of the metric that represents the measure; `key` is the measure and the task.
    """
    (measure, task), own = key, sides[left][key]
    kind, task, other = class_of(measure), spelt(task), sides.get(right, {}).get(key)
    name = _representing(kind, own)
    declared = Declarations(()).find(kind, name)
    if not other:  # a distance to the dense model, which has none
        declared = replace(declared, metric=replace(declared.metric, effect="difference"))
    metric, tables = declared.metric, [side.items for side in (own, other) if side]
    base = metric.scale * other.values[name] if other else math.nan
    difference = paired(tables, metric.items[0] if metric.items else name)
    return effect_row(
        declared,
        left,
        (base, metric.scale * own.values[name]),
        difference,
        against=right,
        measure=measure,
        task=task.replace("_", " ") if kind == CAPABILITY else task,
        family=f"{left}: {kind}" if kind in (CAPABILITY, TASK) and name != CROWS else "",
        n=own.n,
        label=_label(declared, task, own.items),
    )


def _representing(kind: str, own: Measured) -> str:
    """Return the metric that represents a measure; "" for a task without a score."""
    names = (row.metric.name for row in Declarations(()).by_default(kind))
    return next((name for name in names if name in own.values), "")


def _label(declared: Declaration, task: str, items: pd.DataFrame) -> str:
    """Return the name of an outcome for readers."""
    kind, noun, unit = declared.kind, declared.noun, declared.metric.unit
    if kind == CAPABILITY:
        return f"{noun}, {task.replace('_', ' ')}"
    if kind != TASK:
        named = ", ".join(filter(None, [f"{noun} on {task}", unit]))
        return f"{named} (against the dense model)" if MEASURES.load(kind).needs == "beside" else named
    if "loglikelihood" not in items:
        return f"{noun}, {task}, {unit}"
    right, majority = guess(items).mean(), commonest(items["target"])
    return f"{noun}, {task}, {unit} (a guess {100 * right:.1f}, the majority {100 * majority:.1f})"


def _repeating(repeated: Mapping[str, list[float]], exported: str) -> Iterator[EffectRow]:
    """Yield the share of repeated 4-grams in continuations; no row if it was not measured."""
    items = pd.DataFrame(repeated).rename_axis("item").reset_index()
    if len(items):
        before, after = (100 * float(items[side].mean()) for side in ("before", "after"))
        more = paired([items.assign(more=items["after"] - items["before"])], "more")
        yield effect_row(REPEATED, exported, (before, after), more, n=items["document"].nunique())


def _sizes(exported: str, parameters: tuple[int, int], weights: tuple[int, int]) -> Iterator[EffectRow]:
    """Yield the parameters, and the size of the files, which another dtype or padding changes, too."""
    yield effect_row(PARAMETERS, exported, parameters, None)
    megabytes, label = (weights[0] / 1e6, weights[1] / 1e6), WEIGHTS_FILE.label
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        label += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    yield effect_row(WEIGHTS_FILE, exported, megabytes, None, label=label)


def _learning(sides: Sides) -> Iterator[EffectRow]:
    """Yield the loss of recovery on pairs that it did not train on, before and after the training."""
    for (measure, _), side in sides.get(RECOVERED, {}).items():
        losses = side.held_out
        if measure != LEARNING or not losses:
            continue
        first, last = losses[min(losses)], losses[int(side.values.get("kept_step", max(losses)))]
        start = next((step for step in reversed(sides) if step not in (DENSE, RECOVERED)), PRUNED)
        numbers, n = (first["loss"].mean(), last["loss"].mean()), first["document"].nunique()
        gain = paired([last, first], "loss")
        yield effect_row(HELD_OUT, RECOVERED, numbers, gain, question=GAIN, against=start, n=n)


def speeds_of(sides: Sides, exported: str) -> Iterator[EffectRow]:
    """Yield the speeds, whose repeats take turns with the dense model; each turn is a pair.

    No step after pruning changes a shape, so that one step is timed for all. The interval does not cover
    differences between processes.
    """
    for side in timed(sides):
        for declared, speedup, power in ((PREFILL, "prefill_speedup", -1), (DECODING, "decode_speedup", 1)):
            if speedup not in side.values:
                continue
            turns = side.items.get(["item", speedup], pd.DataFrame())
            logs = paired([turns.assign(log=power * np.log(turns[speedup]))], "log") if len(turns) else None
            after = declared.metric.scale * side.values[declared.metric.name]
            before = after / (float(np.exp(logs.value)) if logs else side.values[speedup] ** power)
            label = declared.label.format(side.prompt_tokens)
            yield effect_row(declared, exported, (before, after), logs, n=side.n, label=label)


def speedups(rows: Iterable[EffectRow], goal: float) -> dict[str, Effect]:
    """Return how many times as fast as the dense model another is, by rows of `speeds_of`; `goal` is `neutral`."""
    names = {PREFILL.metric.name: "prefill", DECODING.metric.name: "decoding"}
    effects = {names[row.metric]: row.effect for row in rows if row.measure == SPEED}
    return {
        name: replace(effect.turned() if effect.better < 0 else effect, form="{:.2f}", neutral=goal)
        for name, effect in effects.items()
    }


def weight_bytes(folder: Path) -> int:
    """Return the bytes of a folder's weights, without a second copy in another format."""
    return sum(file.stat().st_size for file in folder.glob(WEIGHTS))
