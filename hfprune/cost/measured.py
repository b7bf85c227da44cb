"""Prediction beside measurement: what finished jobs have cost, by rule."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfprune.cost.jobs import Costs, Job
from hfprune.cost.table import need
from hfprune.errors import HfpruneError
from hfprune.measures import stems
from hfprune.recovery.settings import RECOVERED
from hfprune.results import Cell, read_result
from hfprune.study import layout
from hfprune.study.sweeps import sweeps


@dataclass(frozen=True)
class Pair:
    """A job as predicted, and as its results say that it was."""

    job: Job
    start: float
    """Seconds of the start, which results do not count."""
    cost: dict[str, float]

    @property
    def predicted(self) -> float:
        """Predicted seconds without the start; on a CPU with as many threads as the job had."""
        job, threads = self.job, self.cost["threads"]
        shared = job.seconds - self.start - job.loading
        # Scoring counts from a loaded model.
        before = 0.0 if job.rule.startswith("score_") else job.loading
        return before + (shared if job.gpu_memory else shared * job.threads / threads)


def pairs(costs: Costs, results: Path) -> Iterator[Pair]:
    """Yield the finished jobs of scoring, recovery and measures."""
    for model in costs.study.models:
        for number, (methods, models) in enumerate(sweeps(costs.study, costs.criteria)):
            for seed in costs.study.seeds if model in models else ():
                about = f"{layout.SCORES}.json".format(model=model, method=methods[0], seed=seed)
                if found := _cost([results / about]):
                    yield Pair(costs.score(number, model), costs.device.start, found)
    for cell in layout.cells(costs.name, costs.study):
        recovered = results / layout.fill(layout.RECOVERY, cell) / RECOVERED
        if cell.recovery != "none" and (found := _cost([recovered])):
            yield Pair(costs.recover(cell), costs.device.start, found)
        yield from _measures(costs, results, cell, layout.fill(layout.CELL, cell))
    for model in costs.study.models:
        for method in costs.criteria:
            cell = Cell(costs.name, model, method, None, costs.study.seeds[0], "none")
            folder = layout.SCORING.format(model=model, method=method, seed=cell.seed)
            yield from _measures(costs, results, cell, folder)


def _measures(costs: Costs, results: Path, cell: Cell, folder: str) -> Iterator[Pair]:
    for name, measure in costs.measures.items():
        if (measure.needs == "criterion") != (cell.ratio is None):
            continue
        files = [results / folder / f"{stem}.json" for stem in stems(name, measure)]
        if found := _cost(files):
            yield Pair(costs.measure([name], cell), costs.device.start, found)


def _cost(files: list[Path]) -> dict[str, float] | None:
    """Return what a job's results say of its cost, added up; None unless all are there and not empty."""
    if not all(file.exists() for file in files):
        return None
    found: list[dict[str, Any]] = [read_result(file) for file in files]
    if any("not_applicable" in result for result in found):
        return None
    costs = [result["provenance"]["cost"] for result in found]
    added = {key: sum(cost.get(key, 0.0) for cost in costs) for key in ("seconds", "cpu_seconds", "flops")}
    peak = max(cost["peak_memory_bytes"] for cost in costs)
    return added | {
        "peak_memory_bytes": peak,
        "threads": found[0]["provenance"]["hardware"].get("threads", 1),
    }


def comparison(costs: Costs, results: Path) -> str:
    """Return a table with the mean job of every rule: predicted, measured, and their ratio.

    Times are without the start. On a CPU that others use as well, the time of its processors says more than the
    wall's; it is divided by the job's threads.

    Raises:
        HfpruneError: no job has finished.
    """
    from tabulate import tabulate

    rules: dict[str, list[Pair]] = {}
    for pair in pairs(costs, results):
        rules.setdefault(pair.job.rule, []).append(pair)
    if not rules:
        raise HfpruneError(f"{results}: no finished job of study {costs.name}")
    on_gpu = costs.device.on_gpu
    headers = ["rule", "jobs", "predicted, s", "measured, s", "ratio"]
    headers += [] if on_gpu else ["processor, s", "ratio"]
    headers += ["TFLOPs", "measured", "memory, GB", "measured"]
    rows = []
    for rule, found in rules.items():
        count = len(found)
        predicted = sum(pair.predicted for pair in found) / count
        wall = sum(pair.cost["seconds"] for pair in found) / count
        busy = sum(pair.cost["cpu_seconds"] / pair.cost["threads"] for pair in found) / count
        row = [rule, count, f"{predicted:.1f}", f"{wall:.1f}", _ratio(predicted, wall)]
        row += [] if on_gpu else [f"{busy:.1f}" if busy else "", _ratio(predicted, busy)]
        flops = [
            sum(x) / count / 1e12 for x in zip(*((p.job.flops, p.cost["flops"]) for p in found), strict=True)
        ]
        memory = max(need(costs, p.job) for p in found) / 1e9
        peak = max(p.cost["peak_memory_bytes"] for p in found) / 1e9
        rows.append([*row, *(f"{x:.3g}" for x in flops), f"{memory:.1f}", f"{peak:.1f}"])
    aligned = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=aligned)


def _ratio(predicted: float, measured: float) -> str:
    return f"{predicted / measured:.2f}" if measured else ""
