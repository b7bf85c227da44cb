"""The cost of a study for readers: in a few lines, by stage, and beside what finished jobs have cost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfprune.cost.costs import Costs
from hfprune.devices.table import UTILISATION, Device
from hfprune.errors import HfpruneError
from hfprune.study.references import downloads, locked

if TYPE_CHECKING:
    from pandas import DataFrame


def unfit(costs: Costs, spare: float = 0) -> str:
    """Return a sentence about the job that the device cannot hold with `spare` bytes left, or "" for none."""
    job, room = costs.largest, costs.device.memory
    if costs.memory(job) + spare <= room:
        return ""
    return (
        f"{job.stage} of {job.about} needs about {costs.memory(job) / 1e9:.0f} GB of memory, "
        f"but {costs.device.name} has {room / 1e9:.0f} GB"
    )


def summary(costs: Costs, devices: int = 1) -> list[str]:
    """Return lines about what is to be fetched, hours, the longest and the largest job, and what is too large."""
    device, longest, large = costs.device, costs.longest, costs.largest
    size, unknown = downloads(costs.study, costs.files.catalogue, costs.files.resources)
    more = f" and {unknown} assets of unknown size" if unknown else ""
    main = max(cost.main_memory for cost in costs.each)
    text = [
        f"{size / 1e9:.2f} GB to fetch{more}; about {hours(costs.hours(devices))} on {named(device, devices)}, "
        f"{hours(longest.seconds / 3600)} for the longest job ({longest.stage} of {longest.about}), "
        f"{costs.memory(large) / 1e9:.1f} GB for the largest ({large.stage} of {large.about})"
        + (f", {main / 1e9:.0f} GB of main memory" if device.on_gpu else "")
    ]
    if costs.guessed:
        text.append(f"of unknown size before they are fetched, counted as 7B: {', '.join(costs.guessed)}")
    said = unfit(costs)
    text += [f"too large: {said}"] if said else []
    return [*text, *filter(None, [locked(costs.study, costs.files.catalogue)])]


def table(costs: Costs) -> str:
    import pandas as pd

    rows = pd.DataFrame(
        [cost.stage, 1, cost.seconds * cost.share / 3600, cost.seconds / 60, costs.memory(cost) / 1e9]
        for cost in costs.each
    ).set_axis(["stage", "jobs", "hours", "longest job, min", "memory, GB"], axis=1)
    how = {"jobs": "sum", "hours": "sum", "longest job, min": "max", "memory, GB": "max"}
    found = pd.concat([rows.groupby("stage", sort=False).agg(how), rows.agg(how).to_frame("in all").T])
    return _printed(found, (",.0f", ",.2f", ",.1f", ".1f"))


def comparison(costs: Costs, results: Path) -> str:
    """Return the jobs that have results, by stage: predicted, measured, and the share of the peak they reached.

    Seconds are those of a GPU without loading, or of all a CPU's cores.

    Raises:
        HfpruneError: no job has finished.
    """
    import pandas as pd

    rows = []
    for job, cost in zip(costs.jobs, costs.each, strict=True):
        files = [file for file in job.outputs() if file.suffix == ".json"] if cost.at_peak else []
        files = [results / file.relative_to(costs.files.file("")) for file in files]
        if not files or not all(file.exists() for file in files):
            continue
        found = [one for file in files if "provenance" in (one := json.loads(file.read_text()))]
        if any("not_applicable" in one for one in found):
            continue
        spent = [one["provenance"]["cost"] for one in found]
        taken = [one["seconds" if costs.device.on_gpu else "cpu_seconds"] for one in spent]
        # The results of one sweep, and of plans that are solved together, have the time of all.
        measured = max(taken) if job.stage in ("score", "linear") else sum(taken)
        at_peak = cost.at_peak * cost.share * max(1, costs.device.cores)
        peak = max(one["peak_memory_bytes"] for one in spent)
        rows.append([cost.stage, 1, at_peak, measured, costs.memory(cost) / 1e9, peak / 1e9])
    if not rows:
        raise HfpruneError(f"{results}: no finished job of the study")
    names = ["stage", "jobs", "predicted, s", "measured, s", "memory, GB", "measured, GB"]
    sums = dict.fromkeys(names[1:4], "sum") | dict.fromkeys(names[4:], "max")
    by_stage = pd.DataFrame(rows, columns=names).groupby("stage", sort=False).agg(sums)
    by_stage["utilisation"] = by_stage["predicted, s"] / by_stage["measured, s"]
    by_stage["predicted, s"] /= UTILISATION
    return _printed(by_stage, (",.0f", ",.0f", ",.0f", ".1f", ".1f", ".0%"))


def named(device: Device, devices: int = 1) -> str:
    name = device.name if device.on_gpu else f"{device.cores} cores of {device.name}"
    return name if devices == 1 else f"{devices} × {name}"


def hours(x: float) -> str:
    return f"{60 * x:.0f} minutes" if x < 1 else f"{x:.1f} hours" if x < 100 else f"{x:,.0f} hours"


def _printed(table: "DataFrame", formats: Sequence[str]) -> str:
    from tabulate import tabulate

    texts = [[f"{x:{form}}" for x in table[name]] for name, form in zip(table, formats, strict=True)]
    printed = dict(zip([table.index.name or "stage", *table], [[*table.index], *texts], strict=True))
    return tabulate(printed, "keys", "github", disable_numparse=True)
