"""Prediction beside measurement: what finished jobs have cost, by rule."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hfprune.cost.costs import Cost, Costs
from hfprune.errors import HfpruneError
from hfprune.recovery.options import RECOVERED
from hfprune.results import read_result
from hfprune.stages import Stage


class Pair(NamedTuple):
    """A job as predicted, and as its results say that it was."""

    job: Cost
    predicted: float
    """Predicted seconds without the start; on a CPU with as many threads as the job had."""
    cost: dict[str, float]
    """The cost by the results, added up, and the number of threads."""


def pairs(costs: Costs, results: Path) -> Iterator[Pair]:
    """Yield the finished jobs of scoring, recovery and measures, one for each measure of a cell."""
    for label, job, files in _recorded(costs):
        found = [results / file.relative_to(costs.files.file("")) for file in files]
        if (cost := _cost(found)) is not None:
            job_cost = replace(costs.of(job), stage=label)
            # Scoring counts from a loaded model.
            before = 0.0 if job.stage == "score" else job_cost.loading
            shared = job_cost.seconds - costs.device.start - job_cost.loading
            shared *= 1 if costs.device.on_gpu else job_cost.threads / cost["threads"]
            yield Pair(job_cost, before + shared, cost)


def _recorded(costs: Costs) -> Iterator[tuple[str, Stage, list[Path]]]:
    """Yield jobs with the results that say what they have cost; a measure of a cell is a job of its own."""
    for job in costs.jobs:
        config: Any = job
        if job.stage == "score":
            yield job.stage, job, [file for file in job.outputs() if file.suffix == ".json"][:1]
        elif job.stage == "recover":
            yield job.stage, job, [file for file in job.outputs() if file.name == RECOVERED]
        elif job.stage == "measure":
            for cell, name in ((cell, name) for cell in config.cells for name in config.measures):
                own = {"measures": {name: config.measures[name]}, "cells": [cell]}
                one = type(config)(**dict(config) | own)
                yield f"measure {name}", one, [file for file in one.outputs() if file.suffix == ".json"]


def _cost(files: list[Path]) -> dict[str, float] | None:
    """Return what a job's results say of its cost, added up; None unless all are there and not empty."""
    if not all(file.exists() for file in files):
        return None
    found: list[dict[str, Any]] = [read_result(file) for file in files]
    if any("not_applicable" in result for result in found):
        return None
    costs = [result["provenance"]["cost"] for result in found]
    total = {key: sum(cost.get(key, 0.0) for cost in costs) for key in ("seconds", "cpu_seconds", "flops")}
    peak = max(cost["peak_memory_bytes"] for cost in costs)
    threads = found[0]["provenance"]["hardware"].get("threads", 1)
    return total | {"peak_memory_bytes": peak, "threads": threads}


def comparison(costs: Costs, results: Path) -> str:
    """Return a table with the mean job of every rule: predicted, measured, and their ratio.

    Times are without the start. On a CPU that others use as well, the time of its processors says more than the
    wall's; it is divided by the job's threads.

    Raises:
        HfpruneError: no job has finished.
    """
    import pandas as pd
    from tabulate import tabulate

    found = pd.DataFrame(
        pair.cost
        | {"rule": pair.job.stage, "predicted": pair.predicted, "jobs": 1}
        | {"counted": pair.job.flops, "memory": pair.job.memory}
        for pair in pairs(costs, results)
    )
    if found.empty:
        raise HfpruneError(f"{results}: no finished job of study {costs.files.name}")
    found["busy"] = found["cpu_seconds"] / found["threads"]
    means = dict.fromkeys(("predicted", "seconds", "busy", "counted", "flops"), "mean")
    how = {"jobs": "sum", **means, "memory": "max", "peak_memory_bytes": "max"}
    on_gpu = costs.device.on_gpu
    headers = ["rule", "jobs", "predicted, s", "measured, s", "ratio"]
    headers += [] if on_gpu else ["processor, s", "ratio"]
    headers += ["TFLOPs", "measured", "memory, GB", "measured"]
    rows = []
    for row in found.groupby("rule", sort=False).agg(how).itertuples():
        times = [row.seconds] if on_gpu else [row.seconds, row.busy]
        beside = [
            text for time in times for text in (f"{time:.1f}" if time else "", _ratio(row.predicted, time))
        ]
        flops = [f"{x / 1e12:.3g}" for x in (row.counted, row.flops)]
        memory = [f"{x / 1e9:.1f}" for x in (row.memory, row.peak_memory_bytes)]
        rows.append([row.Index, f"{row.jobs}", f"{row.predicted:.1f}", *beside, *flops, *memory])
    aligned = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=aligned)


def _ratio(predicted: float, measured: float) -> str:
    return f"{predicted / measured:.2f}" if measured else ""
