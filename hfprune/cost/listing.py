"""The cost of a study for readers: a summary, and a table by stage."""

from hfprune.cost.costs import Costs
from hfprune.devices.known import Device
from hfprune.study.references import downloads, locked


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
    """Return lines about downloads, hours, the longest and the largest job, and about what is too large."""
    device, longest, large = costs.device, costs.longest, costs.largest
    size, unknown = downloads(costs.study, costs.files.catalogue, costs.files.resources)
    parts = f"{size / 1e9:.2f} GB" if size else "", f"{unknown} assets of unknown size" if unknown else ""
    fetched = " and ".join(filter(None, parts)) or "nothing"
    main = max(cost.main_memory for cost in costs.by_job)
    text = [
        f"{fetched} to fetch; about {hours(costs.hours(devices))} on {named(device, devices)}, "
        f"{hours(longest.seconds / 3600)} for the longest job ({longest.stage} of {longest.about}), "
        f"{costs.memory(large) / 1e9:.1f} GB for the largest ({large.stage} of {large.about})"
        + (f", {main / 1e9:.0f} GB of main memory" if device.on_gpu else "")
    ]
    if costs.guessed:
        text.append(f"of unknown size before they are fetched, counted as 7B: {', '.join(costs.guessed)}")
    if reason := unfit(costs):
        text.append(f"too large: {reason}")
    return [*text, *filter(None, [locked(costs.study, costs.files.catalogue)])]


def table(costs: Costs) -> str:
    """Return a Markdown table of jobs, hours, minutes of the longest job and GB, by stage and in all."""
    import pandas as pd
    from tabulate import tabulate

    rows = pd.DataFrame(
        [cost.stage, 1, cost.seconds * cost.share / 3600, cost.seconds / 60, costs.memory(cost) / 1e9]
        for cost in costs.by_job
    ).set_axis(["stage", "jobs", "hours", "longest job, min", "memory, GB"], axis=1)
    how = {"jobs": "sum", "hours": "sum", "longest job, min": "max", "memory, GB": "max"}
    totals = pd.concat([rows.groupby("stage", sort=False).agg(how), rows.agg(how).to_frame("in all").T])
    formats = {"jobs": ",.0f", "hours": ",.2f", "longest job, min": ",.1f", "memory, GB": ".1f"}
    texts = {name: [f"{x:{form}}" for x in totals[name]] for name, form in formats.items()}
    return tabulate({"stage": [*totals.index]} | texts, "keys", "github", disable_numparse=True)


def named(device: Device, devices: int = 1) -> str:
    """Return the name of `devices` devices; that of a CPU has its number of cores."""
    name = device.name if device.on_gpu else f"{device.cores} cores of {device.name}"
    return name if devices == 1 else f"{devices} × {name}"


def hours(x: float) -> str:
    """Return hours for readers: as minutes below one hour, without decimals from 100 on."""
    return f"{60 * x:.0f} minutes" if x < 1 else f"{x:.1f} hours" if x < 100 else f"{x:,.0f} hours"
