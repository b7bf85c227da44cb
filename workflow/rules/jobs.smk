# The jobs of the study, each looked up by its first output, and what the directives of rules take of them.
from functools import cache, partial

from hfprune.cost.costs import Costs
from hfprune.stages.jobs import list_jobs, most_turns
from hfprune.study.files import Files

# A recovery that goes on in its fiftieth job does not ask for fifty times as much.
MOST = 4
# Cores of a GPU's job on a cluster; `max-threads` of the profile lowers the number.
BESIDE_GPU = 8
# The minutes of a cluster's longest job.
LONGEST = workflow.global_resources.get("runtime").value if CELL_GROUP else None


@cache
def files():
    """Return the study with its files, which needs the outputs of the baselines' rules."""
    return Files(NAME, STUDY, CHOSEN.catalogue, {name: made_by(name) for name in BASELINES}, CELLS_PER_JOB)


@cache
def costs():
    """Return the cost model of the study."""
    return Costs(files(), jobs().values(), CHOSEN.device)


@cache
def jobs():
    """Return every job by its first output."""
    return {str(job.outputs()[0]): job for job in list_jobs(files())}


@cache
def read_by(output):
    """Return what the job with this first output reads, by the names of the stage's fields."""
    job = jobs()[output]
    old = {*job.ancient()}
    named = job.named_inputs().items()
    return {name: [ancient(str(one)) if one in old else str(one) for one in files] for name, files in named}


def jobs_of(stage):
    """Return the jobs of a stage, in the order of the flow."""
    return [job for job in jobs().values() if job.stage == stage]


def alike(found, key):
    """Return jobs by what they have in common, where each group is a rule of its own."""
    groups = {}
    for job in found:
        groups.setdefault(key(job), []).append(job)
    return groups


def scores_of(job):
    """Return the files of a job's scores, without suffix; a pass over samples of the calibration makes many draws."""
    named = f"{RESULTS}/{paths.SCORES}"
    if not job.sizes:
        return tuple(named.replace("{method}", method) for method, *_ in job.scorings())
    return tuple(
        named.replace("{method}", method).replace("{sequences}", str(size)).replace("{draw}", str(draw))
        for method, size, draw in job.scorings()
    )


class Jobs:
    """The jobs whose first output has a pattern, as functions of its wildcards for the directives of a rule."""

    def __init__(self, pattern):
        self.pattern = str(pattern)

    def of(self, wildcards):
        return jobs()[self.pattern.format(**dict(wildcards.items()))]

    def inputs(self, *names):
        """Its inputs by the names of the stage's fields, all of which a rule lists, so that it can be read alone."""

        def given(wildcards, name):
            found = read_by(str(self.of(wildcards).outputs()[0]))
            if unnamed := found.keys() - {*names}:
                raise WorkflowError(
                    f"{self.pattern}: its rule must name its inputs {', '.join(sorted(unnamed))}"
                )
            return found.get(name, [])

        return {name: partial(given, name=name) for name in names}

    @property
    def params(self):
        """Its command with the settings, and the versions of the code, each of which runs it again if it changes."""
        # A function that reads `input` as well would change unnoticed.
        return {
            "stage": lambda wildcards: self.of(wildcards).stage,
            "settings": lambda wildcards: self.of(wildcards).to_json(),
            "versions": lambda wildcards: str(self.of(wildcards).versions()),
            "about": lambda wildcards: self.of(wildcards).about(),
        }

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
        return {name: self._limit(name) for name in ("mem_mb", "runtime")}

    @property
    def needs(self):
        """Its limits and its GPUs, for jobs with passes of a model; one that takes a core has none."""
        return self.limits | {
            "gpu": lambda wildcards: gpus() if self.of(wildcards).takes != "core" else 0,
            "gpu_mem_mb": self._limit("gpu_mem_mb"),
        }

    def _limit(self, name):
        def of(wildcards, attempt):
            job = self.of(wildcards)
            # On a cluster, the measurements of a cell are made one after another, and fit into the longest job.
            turns = most_turns(jobs().values()) if LONGEST and job.stage == "measure" else 1
            longest = LONGEST // turns if turns > 1 else None
            return costs().cost_of(job).limits(min(attempt, MOST), longest)[name]

        return of


def gpus():
    """Return the GPUs of a job: one, or with `auto` all, on a cluster as many as the profile allows; none with `disk`."""
    if STUDY.device_map == "disk":
        return 0
    most = workflow.global_resources.get("gpu").value if STUDY.device_map == "auto" else None
    return most or int(GPUS > 0 or CLUSTER)
