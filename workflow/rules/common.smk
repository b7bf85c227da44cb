# Shared by every other .smk file: the study, its list of jobs, and functions that look up the job of a rule's wildcards.
import os
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from hfprune.cost import choice
from hfprune.devices.visible import visible_gpus
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.jobs.files import Files
from hfprune.jobs.listing import list_jobs
from hfprune.recovery.settings import ADAPTER, ADAPTER_CONFIG, RECOVERED
from hfprune.study import layout

ROOT = Path(workflow.basedir)
GPUS = visible_gpus()
# This machine submits jobs to others. It may have neither a GPU nor a number of cores.
SUBMITS = workflow.nodes is not None and not workflow.remote_exec
# Jobs run elsewhere: here, or on the machine that submitted this one.
CLUSTER = SUBMITS or workflow.remote_exec
# Jobs call `hfprune`, which stands beside the Python that runs Snakemake.
shell.prefix(f"export PATH={str(Path(sys.executable).parent)!r}:$PATH; ")

try:
    KNOWN = sorted(file.stem for file in (ROOT / "workflow/rules/baselines").glob("*.smk"))
    CHOSEN = choice.choose(config, KNOWN, cluster=CLUSTER, gpus=max(1, GPUS))
except HfpruneError as error:
    raise WorkflowError(str(error)) from None

NAME, STUDY = CHOSEN.name, CHOSEN.study
RESULTS, FIGURES, LOGS = f"results/{NAME}", f"figures/{NAME}", f"logs/{NAME}"
CELLS_PER_JOB = CHOSEN.config.cells_per_job
RESAMPLES = STUDY.calibration.resamples
DTYPE_FILE = f"{RESULTS}/{layout.DTYPE}" if STUDY.dtype == "auto" else []
ENVIRONMENT = str(ROOT / "workflow/envs/hfprune.yml")
# One job of a cluster for all measurements of a cell; the profile says how many of them it joins.
CELL_GROUP = "cell-{model}-{method}-{ratio}-{seed}-{recovery}" if CLUSTER and CELLS_PER_JOB == 1 else None
# A recovery that goes on in its fiftieth job does not ask for fifty times as much.
MOST = 4
# Cores of a GPU's job on a cluster; `max-threads` of the profile lowers the number.
BESIDE_GPU = 8

# One job per GPU at a time, each with a leased GPU. A cluster counts its own GPUs, and gives one to each of its jobs,
# but more to a recovery that asks for them.
if (GPUS or workflow.remote_exec) and workflow.nodes is None and "gpu" not in workflow.global_resources:
    given = GPUS if STUDY.device_map else min(GPUS, STUDY.recovery.gpus if STUDY.recovery else 1)
    workflow.register_resource("gpu", max(1, given if workflow.remote_exec else GPUS))


@cache
def files():
    """Return the study with its files, which needs the outputs of the baselines' rules."""
    made = {name: made_by(name) for name in BASELINES}
    return Files(NAME, STUDY, CHOSEN.catalogue, made, CELLS_PER_JOB)


@cache
def costs():
    """Return the cost model of the study."""
    return choice.costs(files(), CHOSEN.device)


@cache
def by_wildcards():
    """Return every job by its rule and the wildcards of the rule."""
    return {(job.rule, frozenset(job.at.items())): job for job in list_jobs(files())}


def jobs_of(stage):
    """Return the jobs of a stage that several rules share, by rule."""
    found = {}
    for job in by_wildcards().values():
        if job.stage == stage:
            found.setdefault(job.rule, []).append(job)
    return found


def job_of(rule, wildcards):
    """Return the job of a rule's wildcards."""
    return by_wildcards()[rule, frozenset(wildcards.items())]


def inputs(rule):
    """Return a function of wildcards: the job's input files by role."""

    def of(wildcards):
        job = job_of(rule, wildcards)
        found = {role: files for role, files in job.inputs.items() if files}
        return {role: ancient(files) if role in job.ancient else files for role, files in found.items()}

    return unpack(of)


def settings(rule):
    """Return a function of wildcards: the job's settings, with the dtype of a study that measures it."""

    def of(wildcards, input):
        file = input.get("dtype")
        return job_of(rule, wildcards).settings(read_json(Path(str(file)))["dtype"] if file else None)

    return of


def trigger(rule):
    """Return a function of wildcards: what makes the job run again besides its settings and inputs."""
    return lambda wildcards: str(job_of(rule, wildcards).trigger)


def about(rule):
    """Return a function of wildcards: the job's model and cells in words."""
    return lambda wildcards: job_of(rule, wildcards).about


def predicted(rule, limit):
    """Return a function of wildcards and attempt: a limit by the cost model, which grows with the attempt."""
    return lambda wildcards, attempt: limit(
        costs().of(job_of(rule, wildcards)), min(attempt, MOST)
    )


def needs(rule):
    """Return the resources of a rule, by its own jobs."""
    found = {"mem_mb": predicted(rule, choice.main_memory_mb), "runtime": predicted(rule, choice.minutes)}
    return found | {
        "gpu": lambda wildcards: gpus(job_of(rule, wildcards)),
        "gpu_mem_mb": predicted(rule, choice.gpu_memory_mb),
    }


def gpus(job):
    """Return the number of GPUs of a job, which Snakemake lowers to those that there are.

    With a device map, a job takes all of this machine's, and on a cluster as many as the profile allows.
    """
    if job.takes == "core":
        return 0
    most = workflow.global_resources.get("gpu").value if STUDY.device_map else None
    return most or job.gpus * int(GPUS > 0 or CLUSTER)


def cores(rule):
    """Return a function of wildcards: all cores for a job that needs the machine, few beside a GPU, else one."""

    # Evaluated only when the job is created, since a machine that only submits jobs has no number of cores.
    def of(wildcards):
        job = job_of(rule, wildcards)
        if job.takes == "core" or (job.takes == "device" and not CLUSTER):
            return 1
        return BESIDE_GPU if CLUSTER else 2 if GPUS else workflow.cores

    return of


def in_turns(rule):
    """Return the minutes of a measurement: those of a cell, one after another, fit into the longest job."""
    longest = workflow.global_resources.get("runtime").value
    runtime = predicted(rule, choice.minutes)
    if longest is None or CELLS_PER_JOB > 1:
        return runtime
    cells = [cell for jobs in jobs_of("measure").values() for job in jobs for cell in job.cells]
    turns = max(Counter(cells).values(), default=1)
    return lambda wildcards, attempt: min(runtime(wildcards, attempt), longest // turns)


def any_of(names):
    """Return a wildcard constraint that matches these names only."""
    return "|".join(map(re.escape, names)) or "(?!)"


def announce():
    """Say which study runs, what it will fetch and spend, and which job fits no node."""
    print(f"study: {NAME} ({CHOSEN.why}; another: --config study=NAME)", file=sys.stderr, flush=True)
    for line in choice.announcement(costs(), CHOSEN.catalogue, Path("config/studies"), max(1, GPUS)).splitlines():
        print(line, file=sys.stderr, flush=True)
    if SUBMITS:
        most = {name: workflow.global_resources.get(name).value for name in ("mem_mb", "runtime")}
        for said in choice.over_limits(costs(), **most):
            print(f"cost: {said}", file=sys.stderr, flush=True)
