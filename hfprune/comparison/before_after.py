"""A pruned model beside its dense model, after each step that was taken: what was lost and what was won."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.rounding import rounded_interval
from hfprune.analysis.statistics import Estimate, estimate
from hfprune.paper.printed import CROWS, PRIMARY
from hfprune.results import DENSE
from hfprune.results.items import commonest, token_items

PRUNED, RECONSTRUCTED, RECOVERED = "pruned", "reconstructed", "recovered"
CAPABILITY, TASKS, SPEED = "Bits per byte of right answers", "Tasks", "Speed"
# Before the name of a measure that reads the user's own text.
OWN = "own_"
PERPLEXITY, REPEATED = "perplexity on ", "repeated 4-grams of greedy text, %"


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    before: float | None
    """Of the dense model; `None` where it has none, as for the distance to itself."""
    after: float
    """Of the model that is exported."""
    shown: str
    steps: Mapping[str, float | None] = field(default_factory=dict)
    """The number after each step that was taken, that of the export among them."""
    change: float | None = None
    """A share of `before` (0.5: half as much again), or without one or with `absolute` a difference from it."""
    low: float | None = None
    """The ends of its 95 % interval, in pairs on the same documents; None if it is not known."""
    high: float | None = None
    absolute: bool = False
    n: int | None = None
    """Documents, questions, sequences or repeats; None for what is counted exactly."""
    found: Estimate | None = None
    """The change that the interval is of; of a ratio, its logarithm."""

    def said(self) -> str:
        if self.change is None:
            return ""
        form = re.sub(r"\{:,?", "{:+,", self.shown) if self.absolute else "{:+.1%}"
        if self.low is None or self.high is None:
            return form.format(self.change)
        change, *ends = rounded_interval(form, self.change, self.low, self.high, neutral=0)
        return f"{change} [{', '.join(ends)}]"

    def words(self) -> list[str]:
        numbers = [self.before, *self.steps.values()]
        shown = ["" if number is None else self.shown.format(number) for number in numbers]
        return [self.name, *shown, str(self.n or ""), self.said()]


class Side(NamedTuple):
    """What one measure found of one model."""

    values: dict[str, float]
    n: int
    items: pd.DataFrame
    made: dict[str, Any]
    """Provenance."""


# Step, or `DENSE` → measure and task → what was found.
Sides = dict[str, dict[tuple[str, str], Side]]


def step_of(recovery: str) -> str:
    return RECOVERED if "lora" in recovery else RECONSTRUCTED if "linear" in recovery else PRUNED


def spelt(task: str) -> str:
    """Return the name of a text as the user knows it: a file is kept under its hash, too."""
    return re.sub(r"-[0-9a-f]{12}$", "", task)


def paired(items: list[pd.DataFrame], column: str) -> Estimate | None:
    """Return the mean outcome, or its difference between two models in pairs; None if they do not fit."""
    if not all(column in one for one in items):
        return None
    try:
        found = estimate(
            contrast([*zip((1.0, -1.0), (_outcomes(one, column) for one in items), strict=False)])
        )
    except NotComparableError:
        return None
    return found if found.known else None


def with_interval(row: Row, found: Estimate | None, scale: float = 1) -> Row:
    """Return a row with the ends of its change, which the outcomes of items have in units of `scale`."""
    if row.change is None or found is None:
        return row
    ends = np.array([found.low, found.high])
    low, high = ends * scale if row.absolute else np.expm1(ends)
    return replace(row, low=float(low), high=float(high), found=found)


def _outcomes(items: pd.DataFrame, column: str) -> Outcomes:
    tasks = items["source"] if "source" in items else np.zeros(len(items))
    index = [name for name in ("document", "item") if name in items]
    return {
        None: {
            str(task): rows.set_index(index)[column].dropna().sort_index()
            for task, rows in items.groupby(tasks)
        }
    }


def read_sides(results: Mapping[Path, dict[str, Any]]) -> Sides:
    """Return results, by file as `read_result` reads them, by step in order; outcomes of items lie beside each."""
    found: Sides = {step: {} for step in (DENSE, PRUNED, RECONSTRUCTED, RECOVERED)}
    for path, result in results.items():
        cell, file = result["cell"], path.with_suffix(".parquet")
        step = DENSE if (cell["method"], cell["recovery"]) == (DENSE, "none") else step_of(cell["recovery"])
        found[step][result["measure"], result["task"]] = Side(
            {value["metric"]: value["value"] for value in result["values"]},
            max((value["n"] or 0 for value in result["values"]), default=0),
            pd.read_parquet(file) if file.is_file() else pd.DataFrame(),
            result["provenance"],
        )
    return {step: side for step, side in found.items() if side}


class Comparison(NamedTuple):
    rows: list[Row]
    exported: str
    """The step whose model is exported."""
    verdict: list[str]
    """Sentences on what was lost; empty if nothing was measured."""
    sample: dict[str, Any]
    """A `prompt`, and what the dense and the exported model say, `before` and `after`; empty if not measured."""

    def headers(self) -> list[str]:
        return ["", "dense", *self.rows[0].steps, "n", f"change, {self.exported} [95 % interval]"]

    def sampled(self) -> list[str]:
        prompt = self.sample.get("prompt", "")
        return [f"{side:>6}: {prompt}{self.sample[side]!r}" for side in ("before", "after") if prompt]


def compare(
    sides: Sides,
    exported: str,
    parameters: tuple[int, int],
    weights: tuple[int, int],
    repeated: Mapping[str, list[float]],
) -> list[Row]:
    """Return the comparison of a pruned model, after each step that was taken, with its dense model.

    Args:
        sides: from the measures perplexity, fidelity, gold_bpb, zeroshot and latency, and of recovery.
        exported: the step whose change is named.
        parameters: of the dense and the pruned model.
        weights: bytes of their files of weights.
        repeated: shares of repeated 4-grams in texts by the dense (`before`) and the exported model (`after`), and
            the `document` that each goes on with; empty if not measured.
    """
    size, file_size = "parameters", "file size of the weights, MB"
    # Another dtype, or padding, changes the size as well as pruning does.
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        file_size += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    shares = [after / before - 1 for before, after in (parameters, weights)]
    rows = [
        *_qualities(sides, exported),
        *_repeating(repeated, exported),
        *_learning(sides),
        Row("Size", size, *parameters, "{:,.0f}", change=shares[0]),
        Row("Size", file_size, weights[0] / 1e6, weights[1] / 1e6, "{:,.1f}", change=shares[1]),
        *_speeds(sides),
    ]
    # What no step changes, such as the size, is the same after each.
    taken = [step for step in sides if step != DENSE] or [exported]
    return [
        replace(row, steps={step: row.steps.get(step) if row.steps else row.after for step in taken})
        for row in rows
    ]


def _qualities(sides: Sides, exported: str) -> Iterator[Row]:
    """Yield what was lost: relative to the dense model where outcomes are logarithms, else as a difference."""
    dense = sides.get(DENSE, {})
    for kind, metrics, group, name in (
        ("perplexity", ["perplexity"], "Quality", PERPLEXITY + "{}"),
        ("fidelity", ["js_distance"], "Quality", "JS distance to the dense model on {}"),
        ("gold_bpb", ["bpb"], CAPABILITY, "bits per byte, {}"),
        ("zeroshot", PRIMARY, TASKS, "accuracy, {}, %"),
    ):
        for (measure, task), after in sides.get(exported, {}).items():
            metric = next((metric for metric in metrics if metric in after.values), None)
            if measure.removeprefix(OWN) != kind or metric is None:
                continue
            declared, key = Declarations(()).find(kind, metric).metric, (measure, task)
            shown = name.format(task.replace("_", " ") if group == CAPABILITY else spelt(task))
            of, shown = ("Quality", f"stereotypes, {task}, %") if metric == CROWS else (group, shown)
            shown += f" ({_chance(after.items)})" if "loglikelihood" in after.items else ""
            measured = {step: side[key] for step, side in sides.items() if key in side}
            values = {step: declared.scale * side.values[metric] for step, side in measured.items()}
            before, now, absolute = values.pop(DENSE, None), values[exported], declared.effect == "difference"
            row = Row(of, shown, before, now, declared.shown, values, n=after.n, absolute=absolute)
            if before is not None:
                row = replace(row, change=now - before if absolute else now / before - 1)
            elif kind == "fidelity":  # the dense model has no distance to itself
                row = replace(row, change=now)
            pair = [after.items] if before is None else [after.items, dense[key].items]
            yield with_interval(row, paired(pair, declared.items[0]), declared.scale)


def _chance(items: pd.DataFrame) -> str:
    """Return what a guess and the commonest right answer get right of the questions of a task."""
    guess = (1 / items["loglikelihood"].map(len)).mean()
    return f"a guess {100 * guess:.1f}, the majority {100 * commonest(items['target']):.1f}"


def _repeating(repeated: Mapping[str, list[float]], exported: str) -> Iterator[Row]:
    """Yield how much of a continuation repeats itself."""
    items = pd.DataFrame(repeated).rename_axis("item").reset_index()
    if len(items):
        before, after = (100 * float(items[side].mean()) for side in ("before", "after"))
        row = Row("Quality", REPEATED, before, after, "{:.1f}", {exported: after}, after - before)
        found = paired([items.assign(more=items["after"] - items["before"])], "more")
        yield with_interval(replace(row, absolute=True, n=items["document"].nunique()), found, 100)


def _learning(sides: Sides) -> Iterator[Row]:
    """Yield the loss of recovery on pairs that it did not train on, before and after the training."""
    for (measure, _), side in sides.get(RECOVERED, {}).items():
        curve, tokens = side.made.get("curve"), side.made.get("held_out_tokens")
        if measure != "recovery" or not curve or not tokens:
            continue
        at = {point["step"]: token_items(point["losses"], tokens) for point in curve}
        first, last = at[curve[0]["step"]], at[side.values.get("kept_step", curve[-1]["step"])]
        before, after = (float(items["loss"].mean()) for items in (first, last))
        start = next((step for step in reversed(sides) if step not in (DENSE, RECOVERED)), PRUNED)
        steps, name = {start: before, RECOVERED: after}, "held-out loss of recovery, from its start"
        row = Row("Recovery", name, None, after, "{:.3f}", steps, after - before, absolute=True)
        yield with_interval(replace(row, n=len(tokens)), paired([last, first], "loss"))


def _speeds(sides: Sides) -> Iterator[Row]:
    """Yield the speeds, whose repeats take turns with the dense model; each turn is a pair.

    No later step changes a shape, so one is timed for all. Another process may find another ratio.
    """
    timed = [side for step in sides.values() for (of, _), side in step.items() if of == "latency"]
    for side in timed:
        tokens = side.made["settings"].get("prompt_tokens", 0)
        for metric, speedup, name, power, scale in (
            ("prefill_seconds", "prefill_speedup", f"prefill of {tokens} tokens, ms", -1, 1000),
            ("decode_tokens_per_second", "decode_speedup", "decoding, tokens a second", 1, 1),
        ):
            if speedup not in side.values:
                continue
            turns = side.items.get(["item", speedup], pd.DataFrame())
            found = paired([turns.assign(log=power * np.log(turns[speedup]))], "log") if len(turns) else None
            ratio = float(np.exp(found.value)) if found else side.values[speedup] ** power
            after = scale * side.values[metric]
            row = Row(SPEED, name, after / ratio, after, "{:,.1f}", change=ratio - 1, n=side.n)
            yield with_interval(row, found)


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
