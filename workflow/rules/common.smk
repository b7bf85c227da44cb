# Shared by every other .smk file: the study, its paths, and functions of wildcards.
import os
import re
import sys
from pathlib import Path

import torch
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from hfprune import layout
from hfprune.criterion import make_criterion
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.results import DENSE
from hfprune.study import Allocation, Catalogue, Config, LocalSource, Study, check_references, load, nearest
from hfprune.study import validate as strict

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


def check_baseline(name, where):
    """Fail if no file in workflow/rules/baselines has this name."""
    known = sorted(file.stem for file in (ROOT / "workflow/rules/baselines").glob("*.smk"))
    if name not in known:
        raise HfpruneError(f"{where}: no baseline {name!r} in workflow/rules/baselines{nearest(name, known)}")


def load_study():
    """Load and check study, catalogue and methods; every problem ends the run before the first job."""
    path, why = select_study()
    if not path.exists():
        known = ", ".join(sorted(study.stem for study in Path("config/studies").glob("*.yaml")))
        raise HfpruneError(f"no study {path.stem!r} in config/studies (there are: {known})")
    study, catalogue = load(Study, path), load(Catalogue, Path("config/assets.yaml"))
    check_references(study, catalogue, str(path))
    criteria = {}
    for name, method in study.methods.items():
        where = f"{path}: methods.{name}"
        if method.baseline:
            check_baseline(method.baseline, where)
        else:
            chosen = method.criterion or name
            criteria[name] = make_criterion(chosen, method.options, where, method.parts)
            if criteria[name].needs == "weights" and (method.corpus or method.sequences):
                raise HfpruneError(f"{where}: {chosen} reads weights only; remove corpus and sequences")
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
# Of the study's own corpus: what baselines read, and methods that name no other.
CALIBRATION_BLOCKS = f"{RESULTS}/{layout.BLOCKS}.safetensors".replace("{corpus}", STUDY.calibration.corpus)
RECOVERY = STUDY.recovery
# Those of the study only: a broken file that no method names costs nothing.
BASELINES = sorted({method.baseline for method in STUDY.methods.values() if method.baseline})
PARTS = sorted({method.parts for method in STUDY.methods.values()})
ALLOCATIONS = {name: method.allocation for name, method in STUDY.methods.items()}
FLOORS = [allocation.floor for allocation in ALLOCATIONS.values() if allocation.rule == "global"]
UNTIL = STUDY.calibration.until_agreement
TASKS = MEASURES.zeroshot.tasks if MEASURES.zeroshot else []
ENVIRONMENT = str(ROOT / "environment.yml")
PAPER = [
    "paper/claims.yaml",
    "paper/anomalies.csv",
    *expand("paper/tables/{name}.csv", name=layout.PAPER_TABLES),
]

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


def any_of(names):
    """Return a wildcard constraint that matches these names only."""
    return "|".join(map(re.escape, names)) or "(?!)"


def methods_of(baseline):
    """Return the wildcard constraint for a baseline, the methods of the study that name it."""
    return any_of(name for name, method in STUDY.methods.items() if method.baseline == baseline)


def check_baseline_rules():
    """Fail unless the file of each baseline has a rule of its name with one output where the contract says."""
    places = {"checkpoint": f"{RESULTS}/{layout.CHECKPOINT}", "plan": f"{RESULTS}/{layout.PLAN}.safetensors"}
    for baseline in BASELINES:
        named = baseline in (found.name for found in workflow.rules)
        output = dict(getattr(rules, baseline).output.items()) if named else {}
        if output not in [{key: path} for key, path in places.items()]:
            raise WorkflowError(
                f"workflow/rules/baselines/{baseline}.smk: must have a rule {baseline!r} with one output, either "
                + " or ".join(f"{key}={path!r}" for key, path in places.items())
            )


def baseline_output(wildcards):
    """Return the output of a method's baseline, a plan or the folder of a checkpoint."""
    output = getattr(rules, STUDY.methods[wildcards.method].baseline).output
    return output[0].format(**wildcards)


def plan_input(wildcards):
    """Return the plan of a cell, or its baseline's output and proof of adoption; the dense model has none."""
    if wildcards.method == DENSE:
        return []
    if wildcards.method in CRITERIA:
        return f"{RESULTS}/{layout.PLAN}.safetensors".format(**wildcards)
    return [baseline_output(wildcards), f"{RESULTS}/{layout.PLAN}.json".format(**wildcards)]


def pruned_flag(path):
    """Return the flag for a plan, or for the folder of a checkpoint."""
    return f"--plan {path}" if path.endswith(".safetensors") else f"--checkpoint {path}"


def plan_flag(wildcards, input):
    """Return the `--plan` or `--checkpoint` flag of a cell, if it has one."""
    if not input.plan:
        return ""
    return pruned_flag(input.plan if isinstance(input.plan, str) else input.plan[0])


def neurons_removed(budget, ratio):
    """Return the share of MLP neurons that goes with a ratio of all parameters, from a model's budget file."""
    return read_json(Path(budget))["neurons_removed"][ratio]


def adapter_input(wildcards):
    """Return the adapter of a recovered cell."""
    if wildcards.recovery == "none":
        return []
    return f"{RESULTS}/{layout.RECOVERY}/{layout.ADAPTER}".format(**wildcards)


def adapter_flag(wildcards, input):
    """Return the `--adapter` flag of a cell, if it has an adapter."""
    return f"--adapter {Path(input.adapter).parent}" if input.adapter else ""


def allocation_flags(wildcards):
    """Return the flags of a method's allocation; a uniform one is the default."""
    allocation = ALLOCATIONS[wildcards.method]
    if allocation == Allocation():
        return ""
    return f"--allocation global --floor {allocation.floor}" + " --standardize" * allocation.standardize


def blocks_input(wildcards):
    """Return the calibration blocks of a method; weight criteria read none."""
    if CRITERIA[wildcards.method].needs == "weights":
        return []
    corpus = STUDY.corpus_of(wildcards.method)
    return f"{RESULTS}/{layout.BLOCKS}.safetensors".format(corpus=corpus, **wildcards)


def sequences_flag(wildcards):
    """Return the `--sequences` flag of a method that reads a part of the calibration blocks."""
    sequences = STUDY.methods[wildcards.method].sequences
    return f"--sequences {sequences}" if sequences else ""


def publication():
    """Return every table, verdict and figure of the study, and all that they come from."""
    return [
        # Every result by name: one that was deleted is made again only if a target asks for it.
        *(f"{RESULTS}/{file}" for file in layout.result_files(NAME, STUDY)),
        *(f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)),
        *(f"{RESULTS}/{file}" for file in layout.distribution_files(STUDY)),
        *expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
        *expand(f"{RESULTS}/{{file}}", file=["claims.csv", "claims.md", "claims.tex", "claims_by_task.csv"]),
        *expand(f"{RESULTS}/comparison.{{suffix}}", suffix=["csv", "md", "tex"]),
        *expand(f"{RESULTS}/tables/{{name}}.{{suffix}}", name=layout.TABLES, suffix=["csv", "md", "tex"]),
        *expand(f"{FIGURES}/{{name}}.{{suffix}}", name=layout.FIGURES, suffix=["pdf", "svg", "png"]),
    ]
