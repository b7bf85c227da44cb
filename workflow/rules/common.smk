# Shared by every other .smk file: the study, its paths, and functions of wildcards.
import os
import sys
from pathlib import Path

import torch
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from hfprune import layout
from hfprune.criterion import make_criterion
from hfprune.errors import HfpruneError
from hfprune.results import DENSE
from hfprune.study import Catalogue, Config, LocalSource, Study, check_references, load, validate as strict

ROOT = Path(workflow.basedir)
# Jobs call `hfprune`, which stands beside the Python that runs Snakemake.
shell.prefix(f"export PATH={str(Path(sys.executable).parent)!r}:$PATH; ")


def select_study():
    """Return (path of the study file, why it was chosen)."""
    name = strict(Config, config, "config/config.yaml").study
    if name != "auto":
        return Path(f"config/studies/{name}.yaml"), "as configured"
    if torch.cuda.is_available():
        return Path("config/studies/paper.yaml"), "a CUDA device is visible"
    return Path("config/studies/demo.yaml"), "no CUDA device is visible"


def load_study():
    """Load and check study, catalogue and criteria; every problem ends the run before the first job."""
    path, why = select_study()
    if not path.exists():
        known = ", ".join(sorted(study.stem for study in Path("config/studies").glob("*.yaml")))
        raise HfpruneError(f"no study {path.stem!r} in config/studies (there are: {known})")
    study, catalogue = load(Study, path), load(Catalogue, Path("config/assets.yaml"))
    check_references(study, catalogue, str(path))
    criteria = {
        name: make_criterion(method.criterion or name, method.options, f"{path}: methods.{name}")
        for name, method in study.methods.items()
    }
    return path, why, study, catalogue, criteria


try:
    STUDY_FILE, WHY, STUDY, CATALOGUE, CRITERIA = load_study()
except HfpruneError as error:
    raise WorkflowError(str(error)) from None

for part, schema in (
    (config, "config"),
    (STUDY.model_dump(mode="json"), "study"),
    (CATALOGUE.model_dump(mode="json"), "catalogue"),
):
    # Without defaults: Snakemake would fill in those of every provider.
    validate(part, str(ROOT / f"workflow/schemas/{schema}.schema.json"), set_default=False)

NAME = layout.study_name(STUDY_FILE)
RESULTS = f"results/{NAME}"
FIGURES = f"figures/{NAME}"
LOGS = f"logs/{NAME}"
MEASURES = STUDY.measures
RECOVERY = STUDY.recovery
UNTIL = STUDY.calibration.until_agreement
TASKS = MEASURES.zeroshot.tasks if MEASURES.zeroshot else []
ENVIRONMENT = str(ROOT / "environment.yml")
TABLE_NAMES = ["criterion", "fidelity", "cost"]
FIGURE_NAMES = ["accuracy", "fidelity", "tasks", "overlap", "scores", "claims"]
TIDY = ["results.parquet", "results.csv", "overlap.csv", "score_quantiles.csv"]

# As many jobs on GPUs as there are GPUs, of which each job leases one; a cluster counts its own.
if torch.cuda.is_available() and workflow.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", torch.cuda.device_count())

# The main process only: jobs in subprocesses parse this file again.
if workflow.exec_mode == workflow.exec_mode.DEFAULT:
    print(f"study: {NAME} ({WHY}; another: --config study=NAME)", file=sys.stderr, flush=True)


def local_files(wildcards):
    """Return the files of an asset that lies on this machine; none of one that comes from elsewhere."""
    source = getattr(CATALOGUE, wildcards.kind)[wildcards.name].source
    if not isinstance(source, LocalSource) or not source.path.exists():
        return []
    return sorted(map(str, source.path.glob("*"))) if source.path.is_dir() else str(source.path)


def gpu(wildcards=None):
    """Return how many GPUs a job takes: one where there is any."""
    return int(torch.cuda.is_available())


def cell_flag(wildcards):
    """Return the `--cell` value of a job, which identifies its result."""
    ratio, recovery = wildcards.get("ratio", ""), wildcards.get("recovery", "none")
    return f"{NAME}/{wildcards.model}/{wildcards.method}/{ratio}/{wildcards.seed}/{recovery}"


def plan_input(wildcards):
    """Return the plan of a cell; the dense model has none."""
    if wildcards.method == DENSE:
        return []
    return f"{RESULTS}/{layout.PLAN}.safetensors".format(**wildcards)


def plan_flag(wildcards, input):
    """Return the `--plan` flag of a cell, if it has a plan."""
    return f"--plan {input.plan}" if input.plan else ""


def adapter_input(wildcards):
    """Return the adapter of a recovered cell."""
    if wildcards.recovery == "none":
        return []
    return f"{RESULTS}/{layout.RECOVERY}/{layout.ADAPTER}".format(**wildcards)


def adapter_flag(wildcards, input):
    """Return the `--adapter` flag of a cell, if it has an adapter."""
    return f"--adapter {Path(input.adapter).parent}" if input.adapter else ""


def blocks_input(wildcards):
    """Return the calibration blocks of a method; weight criteria read none."""
    if CRITERIA[wildcards.method].needs == "weights":
        return []
    return f"{RESULTS}/{layout.BLOCKS}.safetensors".format(**wildcards)


def publication():
    """Return every table, verdict and figure of the study, and all that they come from."""
    return [
        # Every result by name: one that was deleted is made again only if a target asks for it.
        *(f"{RESULTS}/{file}" for file in layout.result_files(NAME, STUDY)),
        *(f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)),
        *expand(f"{RESULTS}/{{file}}", file=TIDY),
        *expand(f"{RESULTS}/{{file}}", file=["claims.csv", "claims.md", "claims.tex", "claims_by_task.csv"]),
        *expand(f"{RESULTS}/tables/{{name}}.{{suffix}}", name=TABLE_NAMES, suffix=["csv", "md", "tex"]),
        *expand(f"{FIGURES}/{{name}}.{{suffix}}", name=FIGURE_NAMES, suffix=["pdf", "svg", "png"]),
    ]
