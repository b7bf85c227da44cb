# The jobs of the study, and what a rule takes of them: a job is looked up by its first output.
from collections import Counter
from functools import cache

from hfprune.cost.costs import Costs
from hfprune.files import read_json
from hfprune.jobs import list_jobs
from hfprune.study.places import Files

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
def jobs():
    """Return every job by its first output."""
    return {str(job.outputs()[0]): job for job in list_jobs(files())}


def jobs_of(stage):
    """Return the jobs of a stage, in the order of the flow."""
    return [job for job in jobs().values() if job.stage == stage]


def alike(found, key):
    """Return jobs by what they have in common, each of which is a rule of its own."""
    groups = {}
    for job in found:
        groups.setdefault(key(job), []).append(job)
    return groups


class Jobs:
    """The jobs of one rule, by the pattern of their first output: functions of wildcards, for the rule's directives."""

    def __init__(self, pattern):
        self.pattern = str(pattern)

    def of(self, wildcards):
        """Return the job."""
        return jobs()[self.pattern.format(**dict(wildcards.items()))]

    def inputs(self, wildcards):
        """Return the files that it reads."""
        job = self.of(wildcards)
        old = {*job.ancient()}
        return [ancient(str(file)) if file in old else str(file) for file in job.inputs()]

    def settings(self, wildcards):
        """Return its settings. A function that reads `input` as well would change unnoticed."""
        return self.of(wildcards).to_json()

    def versions(self, wildcards):
        """Return the versions of the code that it runs: one that is raised runs it again."""
        return str(self.of(wildcards).versions())

    def about(self, wildcards):
        """Return its model and cells in words."""
        return self.of(wildcards).about()

    def cores(self, wildcards):
        """Return all cores for a job that needs the machine, few beside a GPU, else one."""
        # Evaluated only when the job is created, since a machine that only submits jobs has no number of cores.
        job = self.of(wildcards)
        if job.takes == "core" or (job.takes == "device" and not CLUSTER):
            return 1
        return BESIDE_GPU if CLUSTER else 2 if GPUS and not job.timed else workflow.cores

    @property
    def limits(self):
        """Its memory and time by the cost model, which grow with the attempt."""
        return {"mem_mb": self._predicted(choice.main_memory_mb), "runtime": self._predicted(minutes)}

    @property
    def needs(self):
        """Its limits and its GPUs, for jobs with passes of a model."""
        more = {"gpu": lambda wildcards: gpus()}
        return self.limits | more | {"gpu_mem_mb": self._predicted(choice.gpu_memory_mb)}

    def _predicted(self, limit):
        def of(wildcards, attempt):
            return limit(costs().of(self.of(wildcards)), min(attempt, MOST))

        return of


def minutes(cost, attempt):
    """Return the minutes that a job may take.

    On a cluster, the measurements of a cell are made one after another, and fit together into the longest job.
    """
    found, longest = choice.minutes(cost, attempt), workflow.global_resources.get("runtime").value
    turns = most_turns() if longest and CELL_GROUP and cost.stage == "measure" else 1
    return min(found, longest // turns) if turns > 1 else found


@cache
def most_turns():
    """Return the most jobs that measure one cell."""
    return max(Counter(cell for job in jobs_of("measure") for cell in job.named_cells()).values(), default=1)


def gpus():
    """Return the number of GPUs of a job.

    With a device map, a job takes all of this machine's, and on a cluster as many as the profile allows.
    """
    most = workflow.global_resources.get("gpu").value if STUDY.device_map else None
    return most or int(GPUS > 0 or CLUSTER)
