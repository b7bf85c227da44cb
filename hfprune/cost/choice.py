"""The choice of the study that a device can run, and the announcement before it starts."""

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.costs import Costs
from hfprune.cost.listing import named, summary, unfit
from hfprune.devices.known import Device, nominal_cpu, slowest_gpu, table_device, visible_device
from hfprune.errors import HfpruneError, nearest
from hfprune.settings import load, validate
from hfprune.stages.jobs import list_jobs
from hfprune.study.config import Config
from hfprune.study.files import criteria_of, load_files
from hfprune.study.paths import study_file
from hfprune.study.references import load_study
from hfprune.study.study import Study

# The paper's studies, the largest first; and the study for every machine.
TIERS = ("paper-recovery", "paper", "paper-small")
SMALLEST = "demo"
DAY = 24.0
# Bytes of a GPU's memory that a screen, other programs and fragmentation may take.
SPARE = 1.5e9


class Chosen(NamedTuple):
    """The study of a run of the workflow, and its device."""

    config: Config
    name: str
    path: Path
    why: str
    study: Study
    catalogue: Catalogue
    device: Device


def choose(
    given: Mapping[str, object], baselines: list[str], *, cluster: bool, submits: bool, gpus: int
) -> Chosen:
    """Choose and check the study of a run, so that every mistake ends it before the first job.

    `given` are settings of `config/config.yaml` and the command line, `baselines` those that have a rule. On a
    `cluster`, jobs run on other machines, to which this one may submit them (`submits`). `gpus` is at least 1.

    Raises:
        HfpruneError: names the file, the key and the nearest valid one.
    """
    if submits and shutil.which("sbatch") and not shutil.which("sacct"):
        raise HfpruneError(
            "no sacct on this machine, which the Slurm plug-in calls: install slurm-client (docs/clusters.md)"
        )
    config = validate(Config, given, "config/config.yaml")
    catalogue = load(Catalogue, Path("config/assets.yaml"))
    # Without importing torch. A cluster's GPUs are not visible: the slowest of the table stands for them.
    if config.device != "auto":
        device = table_device(config.device, "auto")
    else:
        device = slowest_gpu() if cluster else visible_device() or nominal_cpu()
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


def largest_tier(studies: Path, catalogue: Catalogue, device: Device, devices: int = 1) -> tuple[Path, str]:
    """Return the file of the largest study that fits the device and runs in a day, and the reason."""
    smallest = studies / f"{SMALLEST}.yaml"
    if not device.on_gpu:
        return smallest, "no CUDA device is visible"
    for path in (studies / f"{tier}.yaml" for tier in TIERS):
        if path.exists():
            costs = costs_of(path, catalogue, device)
            if not unfit(costs, SPARE) and costs.hours(devices) <= DAY:
                return path, f"the largest that {named(device, devices)} runs in a day"
    return smallest, f"{named(device, devices)} cannot hold the paper's models, or not for a day"


def announcement(costs: Costs, path: Path, devices: int = 1, mem_mb: float | None = None) -> str:
    """Return lines about the downloads and the cost of the study in `path`, and about what does not fit.

    `mem_mb` is the most main memory, in MB, that a job of a cluster may ask for; None: any.
    """
    if not costs.jobs:
        return "cost: nothing to fetch or to compute; tables, figures and the page alone"
    text, large = summary(costs, devices), max(costs.by_job, key=lambda cost: cost.main_memory)
    text[0] += f" (by stage: `hfprune cost --study {shlex.quote(str(path))}`)"
    if mem_mb and large.main_memory > mem_mb * 1e6:
        text.append(
            f"too large: {large.stage} of {large.about} needs about {large.main_memory / 1e9:.1f} GB of main "
            f"memory, but the profile's `mem_mb` allows {mem_mb / 1e3:g}"
        )
    return "\n".join(f"cost: {line}" for line in text)


def costs_of(path: Path, catalogue: Catalogue, device: Device, resources: Path = Path("resources")) -> Costs:
    """Return the cost of the study in `path` on a device, as if every baseline wrote a plan."""
    files = replace(load_files(path, catalogue), resources=resources)
    return Costs(files, list_jobs(files), device)
