# Shared by every other .smk file: the study, its paths, and the machine.
import re
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from hfprune.cost import choice
from hfprune.cost.console import Console
from hfprune.cost.progress import Progress
from hfprune.devices.visible import visible_gpus
from hfprune.errors import HfpruneError
from hfprune.settings.recovery import ADAPTER, ADAPTER_CONFIG, RECOVERED
from hfprune.study import paths

# The folder of the workflow, whichever Snakefile includes it.
WORKFLOW = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
GPUS = visible_gpus()
# This machine submits jobs to others. It may have neither a GPU nor a number of cores.
SUBMITS = workflow.nodes is not None and not workflow.remote_exec
# Jobs run elsewhere: here, or on the machine that submitted this one.
CLUSTER = SUBMITS or workflow.remote_exec
# Jobs call `hfprune`, which stands beside the Python that runs Snakemake, or is run from this folder in an environment of conda.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    shell.prefix(f'export PYTHONPATH={str(WORKFLOW.parent)!r}; hfprune() {{{{ python -m hfprune "$@"; }}}}; ')
else:
    shell.prefix(f"export PATH={str(Path(sys.executable).parent)!r}:$PATH; ")

try:
    KNOWN = sorted(file.stem for file in (WORKFLOW / "rules/baselines").glob("*.smk"))
    CHOSEN = choice.choose(config, KNOWN, cluster=CLUSTER, submits=SUBMITS, gpus=max(1, GPUS))
except HfpruneError as error:
    raise WorkflowError(str(error)) from None

NAME, STUDY = CHOSEN.name, CHOSEN.study
if STUDY.device_map == "disk":
    GPUS = 0  # the processor computes
RESULTS, FIGURES, LOGS = f"results/{NAME}", f"figures/{NAME}", f"logs/{NAME}"
CELLS_PER_JOB = CHOSEN.config.cells_per_job
RESAMPLES = STUDY.resamples
SCORED = [".safetensors", ".json", *[paths.RESAMPLED] * bool(RESAMPLES)]
ENVIRONMENT = str(WORKFLOW / "envs/hfprune.yml")
# One job of a cluster for all measurements of a cell; the profile says how many of them it joins.
COORDINATES = "{model}-{method}-{calibration}-{sequences}-{ratio}-{draw}-{recovery}"
CELL_GROUP = f"cell-{COORDINATES}" if CLUSTER and CELLS_PER_JOB == 1 else None

# One job per GPU at a time, each with a leased GPU. A cluster counts its own GPUs, and gives one to each of its jobs.
if (GPUS or workflow.remote_exec) and workflow.nodes is None and "gpu" not in workflow.global_resources:
    given = GPUS if STUDY.device_map == "auto" or not workflow.remote_exec else 1
    workflow.register_resource("gpu", max(1, given))


def any_of(names):
    """Return a wildcard constraint that matches these names only."""
    return "|".join(map(re.escape, names)) or "(?!)"


def announce(record):
    """Say what the jobs will fetch and spend, as a filter of Snakemake's log: once, where it counts its jobs."""
    if hasattr(record, "stats"):
        logger.removeFilter(announce)
        most = workflow.global_resources.get("mem_mb").value if SUBMITS else None
        made = {str(file) for job in workflow.dag.needrun_jobs() for file in job.output}
        todo = Costs(files(), [job for file, job in jobs().items() if file in made], CHOSEN.device)
        print(choice.announcement(todo, CHOSEN.path, max(1, GPUS), most), file=sys.stderr, flush=True)
        for console in logger.handlers:
            if isinstance(console, Console) and not workflow.dryrun:
                console.follow(Progress(todo))
    return True


def unlocking(record):
    """Say how to unlock the folder, as a filter of Snakemake's log, since nothing of ours is called before."""
    if getattr(record, "exception", None) == "LockException":
        ours = str(Path(sys.executable).with_name("snakemake"))
        program = "snakemake" if shutil.which("snakemake") == ours else ours
        record.msg = (
            "This folder is locked. If no other run is under way here, as after a kill: "
            f"{program} --unlock, then the same command again"
        )
    return True


def speak():
    """Put our console in the place of Snakemake's own, unless a plug-in is in that place."""
    for handler in [found for found in logger.handlers if found.name == "DefaultStreamHandler"]:
        logger.removeHandler(handler)
        logger.addHandler(Console(handler, verbose=workflow.output_settings.verbose))
    logger.addFilter(announce)
    logger.addFilter(unlocking)
