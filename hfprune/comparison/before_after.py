"""A pruned model beside its dense model, after each step that was taken: what was lost and what was won."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS
from hfprune.assets.models import WEIGHTS
from hfprune.cells import DENSE
from hfprune.cells.items import commonest, token_items
from hfprune.cells.recovery import Recovery
from hfprune.comparison.rows import SHARE, Kind, Row, difference, paired, share
from hfprune.effects.effect import DIRECTIONS, Effect
from hfprune.measurement import MEASURES
from hfprune.results.declarations import Declarations
from hfprune.statistics.estimates import holm

PRUNED, RECONSTRUCTED, RECOVERED = "pruned", "reconstructed", "recovered"
# Before the name of a measure that reads the user's own text, and of one by which a limit of the user's is judged.
OWN, ASKED = "own_", "asked_"
# The measures with rows of their own kind; all others read texts.
KINDS = {"gold_bpb": Kind.CAPABILITY, "tasks": Kind.TASK}
NOT_OF_TEXT = ("latency", "recovery")


class Measured(NamedTuple):
    """What one measure found of one model."""

    values: dict[str, float]
    n: int
    items: pd.DataFrame
    made: dict[str, Any]
    """Provenance."""


# Step, or `DENSE` → measure and task → what was found.
Sides = dict[str, dict[tuple[str, str], Measured]]


def step_of(recovery: Recovery) -> str:
    """Return the last step that a recovery takes; `none` takes none but pruning."""
    if recovery.trains:
        return RECOVERED
    return RECONSTRUCTED if recovery.reconstructs else PRUNED


def spelt(task: str) -> str:
    """Return the name of a text as the user knows it: a file is kept under its hash, too."""
    return re.sub(r"-[0-9a-f]{12}$", "", task)


def read_sides(results: Mapping[Path, dict[str, Any]]) -> Sides:
    """Return results, by file as `read_result` reads them, by step in order; outcomes of items lie beside each."""
    found: Sides = {step: {} for step in (DENSE, PRUNED, RECONSTRUCTED, RECOVERED)}
    for path, result in results.items():
        cell, file = result["cell"], path.with_suffix(".parquet")
        is_dense = (cell["method"], cell["recovery"]) == (DENSE, Recovery.NONE)
        step = DENSE if is_dense else step_of(Recovery(cell["recovery"]))
        found[step][result["measure"], result["task"]] = Measured(
            {value["metric"]: value["value"] for value in result["values"]},
            max((value["n"] or 0 for value in result["values"]), default=0),
            pd.read_parquet(file) if file.is_file() else pd.DataFrame(),
            result["provenance"],
        )
    return {step: side for step, side in found.items() if side}


LEGEND = (
    "Intervals are over n documents or questions, in pairs with the dense model on the same ones; they hold for "
    "this plan, not for another calibration. A star (*) is a change of a capability or task that holds after "
    "Holm's correction for their number. JS distance is the root of the Jensen-Shannon divergence between "
    "next-token distributions."
)


class BeforeAfter(NamedTuple):
    """The comparison of a pruned model with its dense model."""

    rows: list[Row]
    exported: str
    """The step whose model is exported."""
    conclusions: list[str]
    """Sentences on what was lost; empty if nothing was measured."""
    sample: dict[str, Any]
    """A `prompt`, and what the dense and the exported model say, `before` and `after`; empty if not measured."""
    timed_on: str = ""
    """The GPUs, or else the processor, on which times were taken; empty if none were."""

    def headers(self) -> list[str]:
        """Return the headings of the columns that `Row.words` fills."""
        return ["", "dense", *self.rows[0].steps, "n", f"change, {self.exported} (95 % interval)"]

    def sampled(self) -> list[str]:
        """Return a line per side with the prompt and its continuation; empty if none was measured."""
        prompt = self.sample.get("prompt", "")
        return [f"{side:>6}: {prompt + self.sample[side]!r}" for side in ("before", "after") if prompt]


def rows_of(
    sides: Sides,
    exported: str,
    parameters: tuple[int, int],
    weights: tuple[int, int],
    repeated: Mapping[str, list[float]],
) -> list[Row]:
    """Return the comparison of a pruned model, after each step that was taken, with its dense model.

    Args:
        sides: from the measures perplexity, fidelity, gold_bpb, tasks and latency, and of recovery.
        exported: the step whose change is named.
        parameters: of the dense and the pruned model.
        weights: bytes of their files of weights.
        repeated: shares of repeated 4-grams in texts by the dense (`before`) and the exported model (`after`), and
            the `document` that each goes on with; empty if not measured.
    """
    rows = [
        *_qualities(sides, exported),
        *_repeating(repeated, exported),
        *_learning(sides),
        *_sizes(parameters, weights),
        *_speeds(sides),
    ]
    # What no step changes, such as the size, is the same after each.
    taken = [step for step in sides if step != DENSE] or [exported]
    return [
        replace(row, steps={step: row.steps.get(step) if row.steps else row.after for step in taken})
        for row in _corrected(rows)
    ]


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the p-values of capabilities and of tasks by Holm's method, each a family."""
    found = [*rows]
    for kind in KINDS.values():
        own = [place for place, row in enumerate(found) if row.kind is kind and row.found]
        p_values = holm([found[place].found.p_value() for place in own])  # type: ignore[union-attr]
        for place, p_value in zip(own, p_values, strict=True):
            found[place] = replace(found[place], effect=replace(found[place].effect, holm=p_value))  # type: ignore[type-var]
    return found


def _qualities(sides: Sides, exported: str) -> Iterator[Row]:
    """Yield what was lost, by the metric that represents each measure."""
    for (measure, task), after in sides.get(exported, {}).items():
        name = measure.removeprefix(OWN).removeprefix(ASKED)
        if name in NOT_OF_TEXT:
            continue
        metrics = [row.metric.name for row in Declarations(()).by_default(name)]
        if metric := next((each for each in metrics if each in after.values), ""):
            yield _quality(sides, exported, (measure, task), name, metric)


def _quality(sides: Sides, exported: str, key: tuple[str, str], measure: str, metric: str) -> Row:
    """Return the loss of one metric: as a share where outcomes are logarithms, else a difference."""
    declared, task = Declarations(()).find(measure, metric), spelt(key[1])
    about, better = declared.metric, DIRECTIONS.get(declared.metric.better, 0)
    measured = {step: side[key] for step, side in sides.items() if key in side}
    values = {step: about.scale * side.values[metric] for step, side in measured.items()}
    before, now, after = values.pop(DENSE, None), values[exported], measured[exported]
    pair = [after.items, *([measured[DENSE].items] if before is not None else [])]
    found = paired(pair, about.items[0]) if about.items else None
    if before is not None and about.effect == "ratio":
        effect = share(before, now, found, better)
    else:  # a distance to the dense model is itself the difference
        effect = difference(now - (before or 0), found, about.shown, scale=about.scale, better=better)
    kind = Kind.STEREOTYPES if metric == CROWS else KINDS.get(measure, Kind.TEXT)
    kind = Kind.LIMIT if key[0].startswith(ASKED) else kind
    if kind in (Kind.TEXT, Kind.LIMIT):
        alone = MEASURES.load(measure).needs == "beside"
        name = f"{declared.noun} on {task}" + f", {about.unit}" * bool(about.unit)
        name += " (against the dense model)" * alone
    elif kind is Kind.CAPABILITY:
        task = task.replace("_", " ")
        name = f"{declared.noun}, {task}"
    else:
        name = f"{declared.noun}, {task}, {about.unit}"
        name += f" ({_guessed(after.items)})" if "loglikelihood" in after.items else ""
    return Row(kind, task, name, before, now, about.shown, values, effect, after.n, found, measure, metric)


def _guessed(items: pd.DataFrame) -> str:
    """Return what a guess and the commonest right answer get right of the questions of a task."""
    guess = (1 / items["loglikelihood"].map(len)).mean()
    return f"a guess {100 * guess:.1f}, the majority {100 * commonest(items['target']):.1f}"


def _repeating(repeated: Mapping[str, list[float]], exported: str) -> Iterator[Row]:
    """Yield how much of a continuation repeats itself."""
    items = pd.DataFrame(repeated).rename_axis("item").reset_index()
    if len(items):
        before, after = (100 * float(items[side].mean()) for side in ("before", "after"))
        found = paired([items.assign(more=items["after"] - items["before"])], "more")
        effect = difference(after - before, found, "{:.1f}", scale=100, better=-1)
        name, n = "repeated 4-grams of greedy text, %", items["document"].nunique()
        yield Row(Kind.REPETITION, "", name, before, after, "{:.1f}", {exported: after}, effect, n, found)


def _sizes(parameters: tuple[int, int], weights: tuple[int, int]) -> Iterator[Row]:
    """Yield the parameters, and the size of the files, which also another dtype, or padding, changes."""
    name = "file size of the weights, MB"
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        name += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    for task, shown, numbers, form in (
        ("parameters", "parameters", [float(count) for count in parameters], "{:,.0f}"),
        ("file", name, [count / 1e6 for count in weights], "{:,.1f}"),
    ):
        before, after = numbers
        yield Row(Kind.SIZE, task, shown, before, after, form, effect=Effect(after / before - 1, form=SHARE))


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
        found, shown = paired([last, first], "loss"), "{:.3f}"
        effect = difference(after - before, found, shown, better=-1)
        yield Row(Kind.RECOVERY, "", name, None, after, shown, steps, effect, len(tokens), found)


def timed_on(sides: Sides) -> str:
    """Return the GPUs, or else the processor, on which times were taken, perhaps by an earlier call."""
    machines = [side.made["hardware"] for side in _timed(sides)]
    names = [name for one in machines for name in one.get("cuda") or [one["processor"]]]
    return ", ".join(dict.fromkeys(names))


def _timed(sides: Sides) -> list[Measured]:
    return [side for step in sides.values() for (measure, _), side in step.items() if measure == "latency"]


def _speeds(sides: Sides) -> Iterator[Row]:
    """Yield the speeds, whose repeats take turns with the dense model; each turn is a pair.

    No later step changes a shape, so one is timed for all. Another process may find another ratio.
    """
    for side in _timed(sides):
        tokens = side.made["settings"].get("prompt_tokens", 0)
        for metric, speedup, name, power, scale in (
            ("prefill_seconds", "prefill_speedup", f"prefill of {tokens} tokens, ms", -1, 1000),
            ("decode_tokens_per_second", "decode_speedup", "decoding, tokens a second", 1, 1),
        ):
            if speedup not in side.values:
                continue
            turns = side.items.get(["item", speedup], pd.DataFrame())
            found = paired([turns.assign(log=power * np.log(turns[speedup]))], "log") if len(turns) else None
            after = scale * side.values[metric]
            before = after / (float(np.exp(found.value)) if found else side.values[speedup] ** power)
            effect = share(before, after, found, power)
            yield Row(Kind.SPEED, metric, name, before, after, "{:,.1f}", {}, effect, side.n, found)


def weight_bytes(folder: Path) -> int:
    """Return the bytes of a folder's weights, without a second copy of another format."""
    return sum(file.stat().st_size for file in folder.glob(WEIGHTS))
