"""Which study a device can run, what is said before it starts, and the limits of its jobs."""

from contextlib import suppress
from math import ceil
from pathlib import Path

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.jobs import Costs, Job
from hfprune.cost.table import by_rule, downloads, longest, unfit
from hfprune.devices.table import Device, nominal_cpu, slowest_gpu, table_device, visible_device
from hfprune.errors import HfpruneError
from hfprune.settings import load
from hfprune.study.references import check_references
from hfprune.study.study import Study

# The paper's studies, the largest first, and the one for every machine.
TIERS = ("paper-recovery", "paper", "paper-small")
SMALLEST = "demo"
DAY = 24.0
# A job may take this many times what is predicted, in time and in memory, before it is stopped; each further
# attempt may take as much again.
TIME_MARGIN, MEMORY_MARGIN = 3.0, 1.3
# Bytes of a GPU that a screen, other programs and gaps in its memory may take.
SPARE = 1.5e9
# Minutes that every job may take at least: other machines start slowly, and fetches wait for a network.
LEAST_MINUTES = 30


def chosen_device(name: str, *, cluster: bool) -> Device:
    """Return the device by which a workflow's jobs are predicted, without importing torch.

    Args:
        name: of the table, or `auto`: the visible GPU, else the CPU.
        cluster: whether jobs run on other machines, whose GPUs cannot be seen: then the table's slowest.

    Raises:
        HfpruneError: the table lacks the name; gives the known ones.
    """
    if name != "auto":
        return table_device(name, "auto, {} (device in config/config.yaml)")
    if cluster:
        return slowest_gpu()
    return visible_device() or nominal_cpu()


def hours(costs: Costs, devices: int = 1) -> float:
    """Return the hours of a study on so many devices: at least those of its longest job."""
    return max(by_rule(costs)[-1].hours / devices, longest(costs).seconds / 3600)


def largest_tier(studies: Path, catalogue: Catalogue, device: Device, devices: int = 1) -> tuple[Path, str]:
    """Return the file of the largest study that the device holds, and runs in a day, and why.

    Args:
        studies: folder of the studies.
        catalogue: their assets.
        device: the smallest that is visible.
        devices: how many there are.
    """
    smallest = studies / f"{SMALLEST}.yaml"
    if not device.on_gpu:
        return smallest, "no CUDA device is visible"
    for path in (studies / f"{tier}.yaml" for tier in TIERS):
        if path.exists():
            costs = _costs(path, catalogue, device)
            if not unfit(costs, SPARE) and hours(costs, devices) <= DAY:
                return path, f"the largest that {_named(device, devices)} runs in a day"
    return smallest, f"{_named(device, devices)} cannot hold the paper's models, or not for a day"


def announcement(costs: Costs, catalogue: Catalogue, studies: Path, devices: int = 1) -> str:
    """Return lines about what a study will fetch and spend, what does not fit, and the next larger study."""
    device, (size, unknown) = costs.device, downloads(costs, catalogue, Path("resources"))
    more = f" and {unknown} assets of unknown size" if unknown else ""
    last = by_rule(costs)[-1]
    lines = [
        f"cost: {size / 1e9:.2f} GB to fetch{more}; about {_hours(hours(costs, devices))} on "
        f"{_named(device, devices)} by the cost model, {_hours(last.longest)} for the longest job "
        f"(`hfprune cost --study config/studies/{costs.name}.yaml --device here` measures this machine)"
    ]
    if costs.guessed:
        lines.append(
            f"cost: of unknown size before they are fetched, counted as 7B: {', '.join(costs.guessed)}"
        )
    if said := unfit(costs):
        lines.append(f"cost: too large: {said}")
    with suppress(HfpruneError):  # a mistake in another study's file
        lines += _about_larger(costs, catalogue, studies, devices)
    return "\n".join(lines)


def _about_larger(costs: Costs, catalogue: Catalogue, studies: Path, devices: int) -> list[str]:
    """Return the line about the next larger study, if there is one."""
    if (path := _larger(costs.name, studies)) is None:
        return []
    larger = _costs(path, catalogue, costs.device)
    lacks = f" ({said})" if (said := unfit(larger)) else ""
    return [
        f"cost: the next larger study takes {_hours(hours(larger, devices))} there: "
        f"snakemake --cores all --config study={larger.name}{lacks}"
    ]


def _larger(name: str, studies: Path) -> Path | None:
    """Return the file of the next larger of the paper's studies, if there is one."""
    order = (SMALLEST, *reversed(TIERS))
    if name not in order[:-1]:
        return None
    path = studies / f"{order[order.index(name) + 1]}.yaml"
    return path if path.exists() else None


def main_memory_mb(job: Job, attempt: int = 1) -> int:
    """Return the MB of main memory that a job may take."""
    return ceil(MEMORY_MARGIN * job.main_memory * attempt / 1e6)


def gpu_memory_mb(job: Job, attempt: int = 1) -> int:
    """Return the MB of GPU memory that a job may take; 0 if it takes no GPU."""
    return ceil(MEMORY_MARGIN * job.gpu_memory * attempt / 1e6)


def minutes(job: Job, attempt: int = 1) -> int:
    """Return the minutes that a job may take."""
    return attempt * max(LEAST_MINUTES, ceil(TIME_MARGIN * job.seconds / 60))


def _costs(path: Path, catalogue: Catalogue, device: Device) -> Costs:
    study = load(Study, path)
    check_references(study, catalogue, str(path))
    return Costs(path.stem, study, device, catalogue, guess=True)


def _named(device: Device, devices: int) -> str:
    if not device.on_gpu:
        return f"{device.cores} CPU cores of the table's speed"
    return device.name if devices == 1 else f"{devices} × {device.name}"


def _hours(x: float) -> str:
    return f"{60 * x:.0f} minutes" if x < 1 else f"{x:.1f} hours" if x < 100 else f"{x:,.0f} hours"
