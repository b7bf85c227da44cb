# Functions that look up the job of a rule's wildcards, in the package's list of jobs.
from functools import cache

from hfprune.cost.costs import Costs
from hfprune.files import read_json
from hfprune.jobs.files import Files
from hfprune.jobs.listing import list_jobs
from hfprune.jobs.measuring import most_turns

# A recovery that goes on in its fiftieth job does not ask for fifty times as much.
MOST = 4
# Cores of a GPU's job on a cluster; `max-threads` of the profile lowers the number.
BESIDE_GPU = 8


@cache
def files():
    """Return the study with its files, which needs the outputs of the baselines' rules."""
    return Files(NAME, STUDY, CHOSEN.catalogue, {name: made_by(name) for name in BASELINES}, CELLS_PER_JOB)


@cache
def costs():
    """Return the cost model of the study."""
    return Costs(files(), CHOSEN.device, guess=True)


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
    """Return a function of wildcards: the job's settings. One that reads `input` as well would change unnoticed."""
    return lambda wildcards: job_of(rule, wildcards).settings()


def measured_dtype(wildcards, input):
    """Return the flag of the dtype that a study with `dtype: auto` has measured; others have it in the settings."""
    file = input.get("dtype")
    return f"--dtype {read_json(Path(str(file)))['dtype']}" if file else ""


def trigger(rule):
    """Return a function of wildcards: what makes the job run again besides its settings and inputs."""
    return lambda wildcards: str(job_of(rule, wildcards).trigger)


def about(rule):
    """Return a function of wildcards: the job's model and cells in words."""
    return lambda wildcards: job_of(rule, wildcards).about


def predicted(rule, limit):
    """Return a function of wildcards and attempt: a limit by the cost model, which grows with the attempt."""
    return lambda wildcards, attempt: limit(costs().of(job_of(rule, wildcards)), min(attempt, MOST))


def limits(rule):
    """Return the memory and time of a rule, by its own jobs.

    On a cluster, the measurements of a cell are made one after another, and fit together into the longest job.
    """
    longest = workflow.global_resources.get("runtime").value
    turns = most_turns(by_wildcards().values()) if longest and CELL_GROUP else 1

    def minutes(cost, attempt):
        found = choice.minutes(cost, attempt)
        return min(found, longest // turns) if turns > 1 and rule in jobs_of("measure") else found

    return {"mem_mb": predicted(rule, choice.main_memory_mb), "runtime": predicted(rule, minutes)}


def needs(rule):
    """Return the limits of a rule with passes of a model, and its GPUs."""
    return limits(rule) | {
        "gpu": lambda wildcards: gpus(),
        "gpu_mem_mb": predicted(rule, choice.gpu_memory_mb),
    }


def gpus():
    """Return the number of GPUs of a job.

    With a device map, a job takes all of this machine's, and on a cluster as many as the profile allows.
    """
    most = workflow.global_resources.get("gpu").value if STUDY.device_map else None
    return most or int(GPUS > 0 or CLUSTER)


def cores(rule):
    """Return a function of wildcards: all cores for a job that needs the machine, few beside a GPU, else one."""

    # Evaluated only when the job is created, since a machine that only submits jobs has no number of cores.
    def of(wildcards):
        job = job_of(rule, wildcards)
        if job.takes == "core" or (job.takes == "device" and not CLUSTER):
            return 1
        return BESIDE_GPU if CLUSTER else 2 if GPUS and not job.timed else workflow.cores

    return of
