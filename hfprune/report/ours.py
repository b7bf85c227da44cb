"""Our numbers in the paper's units, each with the key of its column in the paper's tables."""

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from hfprune.analysis.averages import AVERAGE, primary_values, without_tasks
from hfprune.analysis.declarations import ALL_SHOWN, Declarations
from hfprune.paper.tables import AVERAGE_WITHOUT_CROWS
from hfprune.report.cells import OURS, PAPER
from hfprune.report.rows import ROW
from hfprune.results import DENSE

# Kind of measure and metric → the paper's metric, our scale, and the number to add after scaling.
PAPERS_UNITS = {
    ("size", "parameters"): ("parameters", 1e-9, 0),
    ("latency", "prefill_seconds"): ("prefill_latency", 1e3, 0),
    ("latency", "prefill_speedup"): ("prefill_speedup", 1, 0),
    ("latency", "decode_tokens_per_second"): ("decode_throughput", 1, 0),
    ("latency", "decode_speedup"): ("decode_gain", 100, -100),
    ("latency", "flops"): ("prefill_flops", 1e-12, 0),
    ("cost", "seconds"): ("seconds", 1, 0),
    ("cost", "peak_memory_bytes"): ("peak_memory", 1e-9, 0),
    ("cost", "sequences"): ("sequences", 1, 0),
    ("cost", "agreement"): ("agreement", 1, 0),
}
# Metrics that follow from another one of a row and of the row with the reference method.
FOLLOWING: dict[str, tuple[str, str, Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "flops_saved": ("prefill_flops", DENSE, lambda dense, pruned: 100 * (1 - pruned / dense)),
    "seconds_to_entropy": ("seconds", "entropy", lambda entropy, other: other / entropy),
    "memory_to_entropy": ("peak_memory", "entropy", lambda entropy, other: other / entropy),
}


def in_papers_units(levels: pd.DataFrame, declared: Declarations, without: Collection[str]) -> pd.DataFrame:
    """Return levels in the paper's units, with averages over tasks, each with the `key` of its column."""
    measure = declared.first("zeroshot")
    of_tasks = primary_values(levels, measure)
    left_out = [task for task in without if task in {*of_tasks["task"]}]
    averages = {without_tasks(name, left_out): name for name in (AVERAGE, AVERAGE_WITHOUT_CROWS)}
    means = levels[(levels["measure"] == measure) & levels["task"].isin(averages)]
    accuracy = pd.concat([of_tasks[~of_tasks["task"].isin(left_out)], means])
    accuracy = accuracy.assign(task=accuracy["task"].replace(averages))
    accuracy = accuracy.assign(key=accuracy["task"], scale=100.0, shift=0.0)

    outputs = levels[levels["measure"].isin(declared.of_kind(*ALL_SHOWN))]
    outputs = outputs.assign(key=outputs["metric"] + _suffix(outputs), scale=1.0, shift=0.0)

    others = levels[levels["measure"].isin(map(declared.first, ("latency", "cost")))]
    others = pd.concat([others, _sizes(levels)])
    pairs = zip(others["measure"].map(declared.kind), others["metric"], strict=True)
    units = [PAPERS_UNITS.get(pair, (None, 1, 0)) for pair in pairs]
    others[["key", "scale", "shift"]] = pd.DataFrame(units, others.index, ["key", "scale", "shift"])

    parts = [part for part in (accuracy, outputs, others.dropna(subset="key")) if len(part)]
    rows = pd.concat(parts or [others], ignore_index=True)
    scale, shift = rows.pop("scale").astype(float), rows.pop("shift").astype(float)
    for name in ("value", "low", "high"):
        rows[name] = rows[name] * scale + shift
    return rows.assign(stderr=rows["stderr"] * scale, sd=rows["sd"] * scale)


def _suffix(outputs: pd.DataFrame) -> pd.Series:
    places = outputs[["metric", "measure", "task"]].drop_duplicates()
    several = outputs["metric"].map(places.groupby("metric").size()) > 1
    shared = outputs["metric"].map(
        places.groupby("metric")["task"].agg(lambda tasks: tasks.duplicated().any())
    )
    names = outputs["task"].where(~shared.fillna(False).astype(bool), outputs["measure"])
    return (" " + names).where(several, "")


def _sizes(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the number of parameters of every cell.

    A plan gives the number for its cells, with any recovery, and for the dense model.
    """
    by = ["study", "model", "method", "ratio"]
    plans = levels[levels["measure"] == "size"].pivot_table("value", by, "metric")
    plans = plans.reindex(columns=["parameters", "parameter_ratio"])
    whole = (plans["parameters"] / (1 - plans["parameter_ratio"])).round().groupby("model").first()
    cells = levels[levels["ratio"].notna()].groupby([*by, "recovery"], as_index=False)["seeds"].max()
    pruned = cells.merge(plans.reset_index(), "left", by)["parameters"].set_axis(cells.index)
    value = pruned.where(cells["method"] != DENSE, cells["model"].map(whole))
    none = dict.fromkeys(("stderr", "sd", "low", "high"), np.nan)
    found = cells.assign(measure="size", task="", metric="parameters", value=value, **none)
    return found.dropna(subset="value")


def with_following(cells: pd.DataFrame) -> pd.DataFrame:
    """Add the metrics that follow from others; to published rows only those that the table does not print."""
    printed = set(cells.loc[cells["source"] == PAPER, "key"])
    parts = [cells]
    for key, (raw, method, formula) in FOLLOWING.items():
        rows = cells[(cells["key"] == raw) & ((cells["source"] == OURS) | (key not in printed))]
        reference = rows[(rows["method"] == method) & (rows["recovery"] == "none")]
        reference = reference[["model", "source", "value"]]
        rows = rows.merge(reference, on=["model", "source"], suffixes=("", "_reference"))
        value = formula(rows["value_reference"], rows["value"])
        parts.append(rows[[*ROW, "seeds"]].assign(key=key, value=value))
    return pd.concat([part for part in parts if len(part)] or [cells], ignore_index=True)
