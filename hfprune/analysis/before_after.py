"""A pruned model beside its dense model, after each step that was taken: what was lost and what was won."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.steps import (
    CAPABILITY,
    OWN,
    PERPLEXITY,
    PRUNED,
    RECONSTRUCTED,
    RECOVERED,
    REPEATED,
    SPEED,
    TASKS,
    Row,
    Side,
    Sides,
    paired,
    spelt,
    step_of,
    with_interval,
)
from hfprune.item_outcomes import token_items
from hfprune.results import DENSE


def read_sides(results: Mapping[Path, dict[str, Any]]) -> Sides:
    """Return results by step, in the order of steps; the outcomes of items lie beside each.

    Args:
        results: of the dense model and of others made of it, by file, as `hfprune.results.read_result` reads them.
    """
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
    sample: dict[str, str] = {}  # noqa: RUF012
    """A `prompt`, and what the dense and the exported model say, `before` and `after`; empty if not measured."""

    def headers(self) -> list[str]:
        return ["", "dense", *self.rows[0].steps, "n", f"change, {self.exported} [95 % interval]"]

    def sampled(self) -> list[str]:
        prompt = self.sample.get("prompt", "")
        return [f"{side:>6}: {prompt}{self.sample[side]!r}" for side in ("before", "after") if prompt]


def compare(sides: Sides, exported: str, parameters: tuple[int, int], weights: tuple[int, int]) -> list[Row]:
    """Return the comparison of a pruned model, after each step that was taken, with its dense model.

    Args:
        sides: from the measures perplexity, fidelity, repetition, gold_bpb, zeroshot and latency, and of recovery.
        exported: the step whose change is named.
        parameters: of the dense and the pruned model.
        weights: bytes of their files of weights.
    """
    size, file_size = "parameters", "file size of the weights, MB"
    # Another dtype, or padding, changes the size as well as pruning does.
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        file_size += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    shares = [after / before - 1 for before, after in (parameters, weights)]
    rows = [
        *_qualities(sides, exported),
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
        ("repetition", ["repeated"], "Quality", REPEATED + " of greedy text after {}, %"),
        ("gold_bpb", ["bpb"], CAPABILITY, "bits per byte, {}"),
        ("zeroshot", ["acc_norm", "acc"], TASKS, "accuracy, {}, %"),
    ):
        for (measure, task), after in sides.get(exported, {}).items():
            metric = next((metric for metric in metrics if metric in after.values), None)
            if measure.removeprefix(OWN) != kind or metric is None:
                continue
            declared, key = Declarations(()).find(kind, metric).metric, (measure, task)
            answers = kind == "zeroshot" and "loglikelihood" in after.items
            shown = name.format(task.replace("_", " ") if group == CAPABILITY else spelt(task))
            shown += f" ({_chance(after.items)})" if answers else ""
            measured = {step: side[key] for step, side in sides.items() if key in side}
            values = {step: declared.scale * side.values[metric] for step, side in measured.items()}
            before, now, absolute = values.pop(DENSE, None), values[exported], declared.effect == "difference"
            row = Row(group, shown, before, now, declared.shown, values, n=after.n, absolute=absolute)
            if before is not None:
                row = replace(row, change=now - before if absolute else now / before - 1)
            elif kind == "fidelity":  # the dense model has no distance to itself
                row = replace(row, change=now)
            pair = [after.items] if before is None else [after.items, dense[key].items]
            yield with_interval(row, paired(pair, declared.items[0]), declared.scale)
            if answers:
                shares = {step: 100 * _commonest(side.items) for step, side in measured.items()}
                told = shares.pop(DENSE, None), shares[exported]
                yield Row(TASKS, f"commonest answer, {task}, %", *told, "{:.1f}", shares, n=after.n)


def _chance(items: pd.DataFrame) -> str:
    """Return what a guess and the commonest right answer get right of the questions of a task."""
    guess, shares = (1 / items["loglikelihood"].map(len)).mean(), items["target"].value_counts(normalize=True)
    return f"a guess {100 * guess:.1f}, the majority {100 * shares.max():.1f}"


def _commonest(items: pd.DataFrame) -> float:
    return float(items["loglikelihood"].map(np.argmax).value_counts(normalize=True).max())


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
