"""The cost of a study as a table by rule, with what there is to download and to keep."""

from hfprune.cost.costs import Costs
from hfprune.study.references import downloads, locked

# Bytes of a job's file, and of a study's tables and figures.
PER_FILE, PUBLISHED = 20e3, 30e6


def unfit(costs: Costs, spare: float = 0) -> str:
    """Return a sentence about the job that the device cannot hold with `spare` bytes left, or "" for none."""
    job, room = costs.largest, costs.device.memory
    if job.memory + spare <= room:
        return ""
    return (
        f"{job.stage} of {job.about} needs about {job.memory / 1e9:.0f} GB of memory, "
        f"but {costs.device.name} has {room / 1e9:.0f} GB"
    )


def disk(costs: Costs) -> float:
    """Return the bytes of a study's files, without the outcomes of single items."""
    found, study = PUBLISHED, costs.study
    for job in costs.jobs:
        found += PER_FILE * len(job.outputs())
        if job.model_name():
            shape = costs.shapes[job.model_name()]
            kept = shape.layers * shape.neurons * (1 + study.calibration.resamples)
            sizes = {"score": 8 * kept * len(job.named_cells()), "plan": 4 * kept}
            if study.recovery:
                sizes |= {"recover": 4 * shape.adapters(study.recovery.rank), "pack": costs.packed}
            found += sizes.get(job.stage, 0)
    return found


def table(costs: Costs) -> str:
    """Return jobs, hours and memory by rule, and lines about the longest job, the disk and the downloads."""
    import pandas as pd
    from tabulate import tabulate

    device, job, (size, unknown) = (
        costs.device,
        costs.longest,
        downloads(costs.study, costs.files.catalogue, costs.resources),
    )
    jobs = pd.DataFrame(map(vars, costs.each)).assign(taken=[cost.taken for cost in costs.each], jobs=1)
    how = {"jobs": "sum", "taken": "sum", "seconds": "max", "memory": "max", "flops": "sum"}
    rules = jobs.groupby("stage", sort=False).agg(how).rename(index="`{}`".format)
    rows = pd.concat([rules, jobs.agg(how).to_frame("in all").T])
    where = "GPU" if device.on_gpu else "CPU"
    headers = ["stage", "jobs", f"{where} hours", "longest job, min", f"{where} memory, GB", "PFLOPs"]
    lines = [
        [
            rule,
            f"{row.jobs:,.0f}",
            _number(row.taken / 3600),
            _number(row.seconds / 60),
            f"{row.memory / 1e9:.1f}" if row.memory else "",
            _number(row.flops / 1e15),
        ]
        for rule, row in rows.iterrows()
    ]
    more = f" and {unknown} of unknown size" if unknown else ""
    text = [
        f"study {costs.files.name} on {device.name} ({device.source}; {device.memory / 1e9:.0f} GB)",
        "",
        tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=["left", *["right"] * 5]),
        "",
        f"longest job: {job.stage} of {job.about}, {_number(job.seconds / 60)} min",
        f"main memory of a job: up to {jobs['main_memory'].max() / 1e9:.0f} GB",
        f"to download: {size / 1e9:.2f} GB{more}; results on disk: {disk(costs) / 1e9:.2f} GB",
    ]
    if said := unfit(costs):
        text.append(f"does not fit: {said}")
    if said := locked(costs.study, costs.files.catalogue):
        text.append(said)
    return "\n".join(text)


def _number(x: float) -> str:
    if x == 0:
        return ""
    if x < 0.01:
        return "< 0.01"
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:,.0f}"
