"""Which study a device can run, what is said before it starts, and the limits of its jobs."""

import shlex
from contextlib import suppress
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.costs import Cost, Costs
from hfprune.cost.table import unfit
from hfprune.devices.table import Device, nominal_cpu, slowest_gpu, table_device, visible_device
from hfprune.errors import HfpruneError
from hfprune.settings import load, nearest, validate
from hfprune.study.layout import study_file
from hfprune.study.places import load_files
from hfprune.study.references import downloads, load_study, locked
from hfprune.study.study import Config, Study
from hfprune.study.sweeps import criteria_of

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


class Chosen(NamedTuple):
    """The study that a run of the workflow makes, and on which device."""

    config: Config
    name: str
    path: Path
    why: str
    study: Study
    catalogue: Catalogue
    device: Device


def choose(settings: dict[str, Any], baselines: list[str], *, cluster: bool, gpus: int) -> Chosen:
    """Choose and check the study of a run; every mistake ends it before the first job.

    Args:
        settings: what `config/config.yaml` and the command line say.
        baselines: names of the rule files of baselines.
        cluster: whether jobs run on other machines.
        gpus: how many are visible, at least one.

    Raises:
        HfpruneError: names the file, the key and the nearest valid one.
    """
    config = validate(Config, settings, "config/config.yaml")
    device, catalogue = (
        chosen_device(config.device, cluster=cluster),
        load(Catalogue, Path("config/assets.yaml")),
    )
    if config.study != "auto":
        path, why = study_file(config.study), "as configured"
    elif cluster:
        # The machine that submits and those that run the jobs would choose differently.
        raise HfpruneError("study: auto is for one machine (--cores N); on a cluster add --config study=NAME")
    else:
        path, why = largest_tier(Path("config/studies"), catalogue, device, gpus)
    study, catalogue = load_study(path, catalogue)
    try:
        criteria_of(study)
    except HfpruneError as error:
        raise HfpruneError(f"{path}: {str(error).removeprefix('study: ')}") from None
    for name, method in study.methods.items():
        if method.baseline and method.baseline not in baselines:
            raise HfpruneError(
                f"{path}: methods.{name}: no baseline {method.baseline!r} in workflow/rules/baselines"
                f"{nearest(method.baseline, baselines)}"
            )
    return Chosen(config, path.stem, path, why, study, catalogue, device)


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
            if not unfit(costs, SPARE) and costs.hours(devices) <= DAY:
                return path, f"the largest that {_named(device, devices)} runs in a day"
    return smallest, f"{_named(device, devices)} cannot hold the paper's models, or not for a day"


def announcement(costs: Costs, path: Path, catalogue: Catalogue, studies: Path, devices: int = 1) -> str:
    """Return lines about what the study in `path` will fetch and spend, what does not fit, and the next larger."""
    device, (size, unknown) = costs.device, downloads(costs.study, catalogue, costs.resources)
    more = f" and {unknown} assets of unknown size" if unknown else ""
    lines = [
        f"cost: {size / 1e9:.2f} GB to fetch{more}; about {_hours(costs.hours(devices))} on "
        f"{_named(device, devices)} by the cost model, {_hours(costs.longest.seconds / 3600)} for the longest job "
        f"(`hfprune cost --study {shlex.quote(str(path))} --device here` measures this machine)"
    ]
    if costs.guessed:
        lines.append(
            f"cost: of unknown size before they are fetched, counted as 7B: {', '.join(costs.guessed)}"
        )
    if said := unfit(costs):
        lines.append(f"cost: too large: {said}")
    if said := locked(costs.study, catalogue):
        lines.append(f"study: {said}")
    with suppress(HfpruneError):  # a mistake in another study's file
        lines += _about_larger(costs, catalogue, studies, devices)
    return "\n".join(lines)


def _about_larger(costs: Costs, catalogue: Catalogue, studies: Path, devices: int) -> list[str]:
    """Return the line about the next larger of the paper's studies, if there is one."""
    larger = dict(pairwise((SMALLEST, *reversed(TIERS)))).get(costs.files.name)
    if larger is None or not (path := studies / f"{larger}.yaml").exists():
        return []
    other = _costs(path, catalogue, costs.device)
    lacks = f" ({said})" if (said := unfit(other)) else ""
    return [
        f"cost: the next larger study takes {_hours(other.hours(devices))} there: "
        f"snakemake --cores all --config study={larger}{lacks}"
    ]


def over_limits(costs: Costs, mem_mb: float | None, runtime: float | None) -> list[str]:
    """Return sentences about the largest and the longest job, where one job of a cluster may not take as much.

    Args:
        costs: of the study.
        mem_mb: MB of main memory that a job may ask for; None: any.
        runtime: minutes; None: any.
    """
    large, long, said = max(costs.each, key=lambda cost: cost.main_memory), costs.longest, []
    if mem_mb and large.main_memory > mem_mb * 1e6:
        said.append(
            f"too large: {large.stage} of {large.about} needs about {large.main_memory / 1e9:.1f} GB of main "
            f"memory, but the profile's `mem_mb` allows {mem_mb / 1e3:g}"
        )
    if runtime and long.seconds > runtime * 60:
        said.append(
            f"too long: {long.stage} of {long.about} takes about {long.seconds / 3600:.1f} hours, but the "
            f"profile's `runtime` allows {runtime / 60:g}; when it is tried again, it goes on where it was"
        )
    return said


def limits(cost: Cost, attempt: int = 1, longest: int | None = None) -> dict[str, int]:
    """Return the MB of main memory and of a GPU's memory, and the minutes, that a job may take.

    Args:
        cost: what is predicted.
        attempt: the first, second … try.
        longest: minutes that no job may exceed; None: any.
    """
    sizes = {"mem_mb": cost.main_memory, "gpu_mem_mb": cost.gpu_memory}
    found = {name: ceil(MEMORY_MARGIN * size * attempt / 1e6) for name, size in sizes.items()}
    minutes = attempt * max(LEAST_MINUTES, ceil(TIME_MARGIN * cost.seconds / 60))
    return found | {"runtime": min(minutes, longest or minutes)}


def _costs(path: Path, catalogue: Catalogue, device: Device) -> Costs:
    return Costs(load_files(path, catalogue), device, guess=True)


def _named(device: Device, devices: int) -> str:
    if not device.on_gpu:
        return f"{device.cores} CPU cores of the table's speed"
    return device.name if devices == 1 else f"{devices} × {device.name}"


def _hours(x: float) -> str:
    return f"{60 * x:.0f} minutes" if x < 1 else f"{x:.1f} hours" if x < 100 else f"{x:,.0f} hours"
