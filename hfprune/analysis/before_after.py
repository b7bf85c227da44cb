"""A pruned model beside its dense model: the numbers that say what was lost and what was won."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declarations
from hfprune.analysis.outcomes import NotComparableError, Outcomes, contrast
from hfprune.analysis.statistics import estimate
from hfprune.results import DENSE
from hfprune.rounding import rounded_interval


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    before: float | None
    """`None` where the dense model has none, as for the distance to itself."""
    after: float
    shown: str
    better: str
    change: float | None = None
    """A share of `before` (0.5: half as much again), or without one or with `absolute` a difference from it."""
    low: float | None = None
    """The ends of its 95 % interval, in pairs on the same documents; None if it is not known."""
    high: float | None = None
    absolute: bool = False
    doubt: str = ""
    """Why no change is named, or nothing."""
    n: int | None = None

    def said(self) -> str:
        if self.change is None:
            return self.doubt
        form = self.shown.replace(":", ":+") if self.absolute else "{:+.1%}"
        if self.low is None or self.high is None:
            return form.format(self.change)
        change, *ends = rounded_interval(form, self.change, self.low, self.high, neutral=0)
        return f"{change} [{', '.join(ends)}]"

    def words(self) -> list[str]:
        before = "" if self.before is None else self.shown.format(self.before)
        return [self.name, before, self.shown.format(self.after), self.said()]


# (measure, task) → result; its values by metric.
_Results = dict[tuple[str, str], "_Side"]
HEADERS = ["", "before", "after", "change [95 % interval]"]
_QUALITY, CAPABILITY, _SIZE, SPEED = "Quality", "Bits per byte of right answers", "Size", "Speed"
# A factor of perplexity below which a pruned model is as good as whole, and one above which it is of no use.
USABLE, LOST = 1.1, 2.0
# No model that has learnt a language has so high a perplexity on ordinary text.
BROKEN = 1000.0


@dataclass(frozen=True)
class _Side:
    values: dict[str, float]
    n: int
    items: pd.DataFrame
    settings: dict[str, Any]


def compare(
    results: Mapping[Path, dict[str, Any]], parameters: tuple[int, int], weights: tuple[int, int]
) -> list[Row]:
    """Return the comparison of a pruned model with its dense model.

    Args:
        results: of both models by file, as `hfprune.results.read_result` reads them, from the measures perplexity,
            fidelity, gold_bpb and latency; outcomes per item lie beside them.
        parameters: of the dense and the pruned model.
        weights: bytes of their files of weights.
    """
    dense: _Results = {}
    pruned: _Results = {}
    for path, result in results.items():
        side = dense if result["cell"]["method"] == DENSE and result["cell"]["recovery"] == "none" else pruned
        file = path.with_suffix(".parquet")
        side[result["measure"], result["task"]] = _Side(
            {value["metric"]: value["value"] for value in result["values"]},
            max((value["n"] or 0 for value in result["values"]), default=0),
            pd.read_parquet(file) if file.is_file() else pd.DataFrame(),
            result["provenance"]["settings"],
        )
    size, file_size = "parameters", "file size of the weights, MB"
    # Another dtype, or padding, changes the size as well as pruning does.
    wide, narrow = (stored / count for stored, count in zip(weights, parameters, strict=True))
    if abs(narrow / wide - 1) > 0.02:
        file_size += f" ({wide:.1f} → {narrow:.1f} bytes a parameter)"
    shares = [after / before - 1 for before, after in (parameters, weights)]
    return [
        *_qualities(dense, pruned),
        Row(_SIZE, size, *parameters, "{:,.0f}", "lower", shares[0]),
        Row(_SIZE, file_size, weights[0] / 1e6, weights[1] / 1e6, "{:,.1f}", "lower", shares[1]),
        *(row for (measure, _), side in pruned.items() if measure == "latency" for row in _speeds(side)),
    ]


def _qualities(dense: _Results, pruned: _Results) -> Iterator[Row]:
    """Yield what was lost: relative to the dense model where outcomes are logarithms, else as a difference."""
    for measure, metric, group, name in (
        ("perplexity", "perplexity", _QUALITY, "perplexity on {}"),
        ("fidelity", "js_distance", _QUALITY, "JS distance to the dense model on {}"),
        ("gold_bpb", "bpb", CAPABILITY, "bits per byte, {}"),
    ):
        declared = Declarations(()).find(measure, metric).metric
        for (of, task), after in pruned.items():
            if of != measure or metric not in after.values:
                continue
            before = dense.get((of, task))
            was, now = before.values[metric] if before else None, after.values[metric]
            row = Row(group, name.format(task.replace("_", " ")), was, now, declared.shown, declared.better)
            row = replace(row, absolute=declared.effect == "difference", n=after.n)
            if was is not None:
                row = replace(row, change=now - was if row.absolute else now / was - 1)
            elif measure == "fidelity":  # the dense model has no distance to itself
                row = replace(row, change=now)
            yield _with_interval(row, after.items, before and before.items, declared.items[0])


def _with_interval(row: Row, after: pd.DataFrame, before: pd.DataFrame | None, column: str) -> Row:
    if row.change is None or column not in after or (before is not None and column not in before):
        return row
    sides = [_outcomes(items, column) for items in (after, before) if items is not None]
    try:
        found = estimate(contrast([*zip((1.0, -1.0), sides, strict=False)]))
    except NotComparableError:
        return row
    if not found.known:
        return row
    low, high = (found.low, found.high) if row.absolute else np.expm1([found.low, found.high])
    return replace(row, low=float(low), high=float(high))


def _outcomes(items: pd.DataFrame, column: str) -> Outcomes:
    tasks = items["source"] if "source" in items else np.zeros(len(items))
    index = [name for name in ("document", "item") if name in items]
    return {
        None: {
            str(task): rows.set_index(index)[column].dropna().sort_index()
            for task, rows in items.groupby(tasks)
        }
    }


def _speeds(side: _Side) -> Iterator[Row]:
    """Yield the speeds; the change is named where every repeat, in turns with the dense model, has the same sign.

    The repeats of one process are no interval: another process may find another ratio.
    """
    tokens = side.settings.get("prompt_tokens", 0)
    for metric, speedup, name, power, scale in (
        ("prefill_seconds", "prefill_speedup", f"prefill of {tokens} tokens, ms", -1, 1000),
        ("decode_tokens_per_second", "decode_speedup", "decoding, tokens a second", 1, 1),
    ):
        if speedup not in side.values:
            continue
        after, ratio = scale * side.values[metric], side.values[speedup] ** power
        each = side.items[speedup] if speedup in side.items else pd.Series([side.values[speedup]])
        agree = (each > 1).all() or (each < 1).all()
        row = Row(SPEED, name, after / ratio, after, "{:,.1f}", "lower" if power < 0 else "higher", n=side.n)
        yield replace(row, change=ratio - 1) if agree else replace(row, doubt="repeats disagree")


def verdict(rows: Sequence[Row], vocabulary: int, repaired: bool) -> list[str]:
    """Return in plain sentences what was lost, and whether the model can be used; nothing if it was not measured.

    Args:
        vocabulary: tokens that the model knows; a blind guess has this perplexity.
    """
    row = next((row for row in rows if row.name.startswith("perplexity") and row.before is not None), None)
    if row is None or row.before is None or row.change is None:
        return []
    interval = "" if row.low is None else " (95 % interval)"
    changed = f"Perplexity changes by {row.said()}{interval} against the dense model's"
    if row.before > min(BROKEN, vocabulary / 4):
        return [
            f"Warning: the dense model itself is broken or cannot read this text (perplexity {row.before:,.0f}): "
            "the comparison says nothing of pruning. Look at its weights, tokenizer and dtype.",
            f"{changed}.",
        ]
    low, high = (1 + (row.change if end is None else end) for end in (row.low, row.high))
    if high < USABLE:
        use = "little was lost, and the model can be used as it is"
    elif low > LOST:
        use = "the model cannot be used" + ("" if repaired else " without recovery (--linear, --recover)")
    elif low < 1 < high:
        use = (
            "so few documents do not tell how much was lost; try the model on your own task, or measure more"
        )
    else:
        use = "something was lost; use the model only where your own task shows no loss"
        use += "" if repaired else ", or recover it (--linear, --recover)"
    said = [f"{changed}: {use}."]
    groups = [row for row in rows if row.group == CAPABILITY]
    surely = sorted((row for row in groups if (row.low or 0) > 0), key=lambda row: -(row.change or 0))
    if groups:
        lost = ", ".join(row.name.removeprefix("bits per byte, ") for row in surely)
        said.append(
            f"{len(surely)} of {len(groups)} capabilities lost measurably{', most first: ' * bool(surely)}{lost}."
        )
    return said


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
