"""The cost of a study as tables and lines."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hfprune.assets.catalogue import (
    Catalogue,
    HubSource,
    JoinedSource,
    LocalSource,
    ModelAsset,
    PypiSource,
    alternatives,
)
from hfprune.cost.jobs import Costs, Job
from hfprune.cost.speed import share
from hfprune.models.shape import known_shapes
from hfprune.study import layout
from hfprune.study.references import study_assets

# Bytes of the files of a result, and of a study's tables and figures.
PER_FILE, PUBLISHED = 20e3, 30e6


@dataclass(frozen=True)
class Total:
    """Jobs of one rule, or all, together."""

    rule: str
    jobs: int
    hours: float
    """Hours in which they occupy the device, each by its share of it."""
    longest: float
    """Hours of the longest job."""
    flops: float
    memory: float
    """Largest need of a job of memory on the device, in bytes."""
    main_memory: float


def total(costs: Costs, rule: str, jobs: Iterable[Job]) -> Total:
    """Add up jobs; on a GPU only those that run on it count hours."""
    found, device = [*jobs], costs.device
    taken = [job.seconds * job.gpus * share(device, job.threads) for job in found if job.on_device]
    return Total(
        rule,
        len(found),
        sum(taken) / 3600,
        max((job.seconds for job in found), default=0) / 3600,
        sum(job.flops for job in found),
        max((need(costs, job) for job in found), default=0),
        max((job.main_memory for job in found), default=0),
    )


def by_rule(costs: Costs) -> list[Total]:
    """Return the total of every rule, in the order of the flow, and of all of them last."""
    rules: dict[str, list[Job]] = {}
    for job in costs.jobs():
        rules.setdefault(job.rule, []).append(job)
    rows = [total(costs, rule, jobs) for rule, jobs in rules.items()]
    return [*rows, total(costs, "in all", (job for jobs in rules.values() for job in jobs))]


def longest(costs: Costs) -> Job:
    """Return the longest job."""
    return max(costs.jobs(), key=lambda job: job.seconds)


def largest(costs: Costs) -> Job:
    """Return the job that needs most memory on the device."""
    return max(costs.jobs(), key=lambda job: need(costs, job))


def need(costs: Costs, job: Job) -> float:
    """Return the bytes that a job needs on the device."""
    return job.gpu_memory if costs.device.on_gpu else job.main_memory


def unfit(costs: Costs, spare: float = 0) -> str:
    """Return a sentence about the job that the device cannot hold with `spare` bytes left, or "" for none."""
    job, room = largest(costs), costs.device.memory
    if need(costs, job) + spare <= room:
        return ""
    return (
        f"{job.rule} of {job.about} needs about {need(costs, job) / 1e9:.0f} GB of memory, "
        f"but {costs.device.name} has {room / 1e9:.0f} GB"
    )


def over_limits(costs: Costs, mem_mb: float | None, runtime: float | None) -> list[str]:
    """Return sentences about the largest and the longest job, where one job of a cluster may not take as much.

    Args:
        costs: of the study.
        mem_mb: MB of main memory that a job may ask for; null: any.
        runtime: minutes; null: any.
    """
    large, said = max(costs.jobs(), key=lambda job: job.main_memory), []
    if mem_mb and large.main_memory > mem_mb * 1e6:
        said.append(
            f"too large: {large.rule} of {large.about} needs about {large.main_memory / 1e9:.1f} GB of main "
            f"memory, but the profile's `mem_mb` allows {mem_mb / 1e3:g}"
        )
    long = longest(costs)
    if runtime and long.seconds > runtime * 60:
        said.append(
            f"too long: {long.rule} of {long.about} takes about {long.seconds / 3600:.1f} hours, but the "
            f"profile's `runtime` allows {runtime / 60:g}; when it is tried again, it goes on where it was"
        )
    return said


def downloads(costs: Costs, catalogue: Catalogue, resources: Path) -> tuple[float, int]:
    """Return the bytes of a study's downloads, and the number of assets whose size nobody has written down.

    Assets that are already fetched count as nothing; a hub's model counts by its parameters in 16 bits.
    """
    sizes: dict[str, float] = {}
    unknown = 0
    for asset in study_assets(costs.study):
        kind, _, name = asset.partition("/")
        if (resources / asset / "asset.json").exists():
            continue
        entry = getattr(catalogue, kind)[name]
        match alternatives(entry.source)[0]:
            case PypiSource() as source:
                sizes[f"{source.package}=={source.version}"] = source.bytes or 0
            case JoinedSource() as source:
                sizes |= {f"{part.package}=={part.version}": part.bytes or 0 for part in source.parts}
            case HubSource() as source if source.bytes:
                sizes[f"{source.repo} {source.files}"] = source.bytes
            case HubSource() as source if isinstance(entry, ModelAsset) and name in known_shapes():
                sizes[source.repo] = known_shapes()[name].weights(2)
            case LocalSource():
                continue
            case _:
                unknown += 1
    return sum(sizes.values()), unknown


def disk(costs: Costs) -> float:
    """Return the bytes of a study's results, without those of single items, and of its packed pairs."""
    study = costs.study
    found = PUBLISHED + PER_FILE * len(layout.result_files(costs.name, study))
    for model, shape in costs.shapes.items():
        units = shape.layers * shape.neurons
        files = 1 + study.calibration.resamples
        found += 8 * units * files * len(costs.criteria) * len(study.seeds)
        found += 4 * units * files * len(costs.criteria) * len(study.seeds) * len(study.ratios_of(model))
    for job in costs.jobs():
        if job.rule == "recover" and study.recovery:
            found += 4 * costs.shapes[job.about.split(",")[0]].adapters(study.recovery.rank)
        if job.rule == "pack":
            found += costs.packed()
    return found


def table(costs: Costs, catalogue: Catalogue, resources: Path) -> str:
    """Return jobs, hours and memory by rule, and lines about the longest job, the disk and the downloads."""
    from tabulate import tabulate

    device, rows = costs.device, by_rule(costs)
    where = "GPU" if device.on_gpu else "CPU"
    headers = ["rule", "jobs", f"{where} hours", "longest job, min", f"{where} memory, GB", "PFLOPs"]
    lines = [
        [
            f"`{row.rule}`" if row.rule != "in all" else row.rule,
            f"{row.jobs:,}",
            _number(row.hours),
            _number(60 * row.longest),
            f"{row.memory / 1e9:.1f}" if row.memory else "",
            _number(row.flops / 1e15),
        ]
        for row in rows
    ]
    job, (size, unknown) = longest(costs), downloads(costs, catalogue, resources)
    more = f" and {unknown} of unknown size" if unknown else ""
    text = [
        f"study {costs.name} on {device.name} ({device.source}; {device.memory / 1e9:.0f} GB)",
        "",
        tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=["left", *["right"] * 5]),
        "",
        f"longest job: {job.rule} of {job.about}, {_number(job.seconds / 60)} min",
        f"main memory of a job: up to {rows[-1].main_memory / 1e9:.0f} GB",
        f"to download: {size / 1e9:.2f} GB{more}; results on disk: {disk(costs) / 1e9:.2f} GB",
    ]
    if said := unfit(costs):
        text.append(f"does not fit: {said}")
    return "\n".join(text)


def _number(x: float) -> str:
    if x == 0:
        return ""
    if x < 0.01:
        return "< 0.01"
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:,.0f}"
