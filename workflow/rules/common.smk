# Shared by every other .smk file: the study, its paths, and functions of wildcards.
import json
import os
import shlex
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from snakemake.exceptions import WorkflowError

from hfprune.commands.flags import spell
from hfprune.cost.choice import announcement, chosen_device, largest_tier
from hfprune.cost.choice import gpu_memory_mb, main_memory_mb, minutes
from hfprune.cost.jobs import Costs
from hfprune.cost.table import over_limits
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.devices.visible import visible_gpus
from hfprune.recovery.settings import ADAPTER, ADAPTER_CONFIG, RECOVERED
from hfprune.results import DENSE, Cell, spell_cell
from hfprune.measures import stems
from hfprune.settings import load, nearest
from hfprune.settings import validate as strict
from hfprune.study import layout
from hfprune.assets.catalogue import Catalogue, LocalSource, alternatives
from hfprune.plans.rules import Allocation
from hfprune.models.placement import Placement
from hfprune.study.references import check_references
from hfprune.study.study import Config, Study
from hfprune.study.sweeps import criteria_of, sweeps

ROOT = Path(workflow.basedir)
GPUS = visible_gpus()
# This machine submits jobs to others. It may have neither a GPU nor a number of cores.
SUBMITS = workflow.nodes is not None and not workflow.remote_exec
# Jobs run elsewhere: here, or on the machine that submitted this one.
CLUSTER = SUBMITS or workflow.remote_exec
# Jobs call `hfprune`, which stands beside the Python that runs Snakemake.
shell.prefix(f"export PATH={str(Path(sys.executable).parent)!r}:$PATH; ")


def select_study():
    """Return (path of the study file, why it was chosen)."""
    if SETTINGS.study != "auto":
        return Path(f"config/studies/{SETTINGS.study}.yaml"), "as configured"
    if CLUSTER:
        # The machine that submits and those that run the jobs would choose differently.
        raise HfpruneError("study: auto is for one machine (--cores N); on a cluster add --config study=NAME")
    catalogue = load(Catalogue, Path("config/assets.yaml"))
    return largest_tier(Path("config/studies"), catalogue, DEVICE, max(1, GPUS))


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
    if SUBMITS and shutil.which("sbatch") and not shutil.which("sacct"):
        raise HfpruneError(
            "no sacct on this machine: the Slurm plug-in calls it, even where it knows nothing"
        )
    for name, method in study.methods.items():
        if method.baseline:
            check_baseline(method.baseline, f"{path}: methods.{name}")
    return path, why, study, catalogue, criteria_of(study, str(path))


try:
    SETTINGS = strict(Config, config, "config/config.yaml")
    DEVICE = chosen_device(SETTINGS.device, cluster=workflow.nodes is not None)
    STUDY_FILE, WHY, STUDY, CATALOGUE, CRITERIA = load_study()
except HfpruneError as error:
    raise WorkflowError(str(error)) from None

NAME = layout.study_name(STUDY_FILE)
RESULTS = f"results/{NAME}"
FIGURES = f"figures/{NAME}"
LOGS = f"logs/{NAME}"
MEASURES = STUDY.make_measures(str(STUDY_FILE))
# The measures that one job takes, and of which cells.
TOGETHER = layout.together(NAME, STUDY, MEASURES)
CELLS_PER_JOB = SETTINGS.cells_per_job
COSTS = Costs(NAME, STUDY, DEVICE, CATALOGUE, guess=True)
# Blocks of the study's own corpus, for baselines and for methods that name no other corpus.
CALIBRATION_BLOCKS = f"{RESULTS}/{layout.BLOCKS}.safetensors".replace("{corpus}", STUDY.calibration.corpus)
RECOVERY = STUDY.recovery
# Only those of the study: a broken file affects only studies that use it.
BASELINES = sorted({method.baseline for method in STUDY.methods.values() if method.baseline})
# What is pruned at every ratio; `own_budgets` has the rest.
UNITS = sorted({json.dumps(STUDY.methods[name].units) for name in CRITERIA if not STUDY.methods[name].ratios})
FLOORS = [method.allocation.floor for method in STUDY.methods.values() if method.allocation.rule != "uniform"]
IN_STEPS = [name for name, method in STUDY.methods.items() if method.steps > 1]
UNTIL = STUDY.calibration.until_agreement
RESAMPLES = STUDY.calibration.resamples
ENVIRONMENT = str(ROOT / "workflow/envs/hfprune.yml")
PAPER = [
    "paper/claims.yaml",
    "paper/anomalies.csv",
    *expand("paper/tables/{name}.csv", name=layout.PAPER_TABLES),
]

# One job per GPU at a time, each with a leased GPU. A cluster counts its own GPUs, and gives one to each of its jobs,
# but more to a recovery that asks for them.
if (GPUS or workflow.remote_exec) and workflow.nodes is None and "gpu" not in workflow.global_resources:
    given = GPUS if STUDY.device_map else min(GPUS, RECOVERY.gpus if RECOVERY else 1)
    workflow.register_resource("gpu", max(1, given if workflow.remote_exec else GPUS))

# In the main process only: jobs in subprocesses parse this file again.
if workflow.exec_mode == workflow.exec_mode.DEFAULT:
    print(f"study: {NAME} ({WHY}; another: --config study=NAME)", file=sys.stderr, flush=True)
    print(announcement(COSTS, CATALOGUE, Path("config/studies"), max(1, GPUS)), file=sys.stderr, flush=True)
    if SUBMITS:
        most = {name: workflow.global_resources.get(name).value for name in ("mem_mb", "runtime")}
        for said in over_limits(COSTS, **most):
            print(f"cost: {said}", file=sys.stderr, flush=True)


# Of a study with `dtype: auto`: which dtype is the faster here, measured once.
DTYPE_FILE = f"{RESULTS}/{layout.DTYPE}" if STUDY.dtype == "auto" else []


# Flags behind the dtype of a job, so that the commands of studies without a device map stay as they are: Snakemake
# makes results again if their commands change.
PLACED = f" {shlex.join(spell(Placement(**STUDY.placement())))}" if STUDY.device_map else ""


def dtype_of(wildcards, input):
    """Return the dtype of a job, from the file of `dtype: auto` where the study has it, and the device map's flags."""
    return (read_json(Path(input.dtype))["dtype"] if input.dtype else STUDY.dtype) + PLACED


def local_files(wildcards):
    """Return the files of an asset on this machine; none if the asset has no local source."""
    sources = alternatives(getattr(CATALOGUE, wildcards.kind)[wildcards.name].source)
    paths = [source.path for source in sources if isinstance(source, LocalSource)]
    return [str(file) for path in paths for file in sorted(path.glob("*")) or [path] if file.exists()]


def gpu(wildcards=None):
    """Return the number of GPUs that a job takes: one if this machine has any, and on a cluster.

    With a device map all of this machine's, and on a cluster as many as the profile lets a job ask for.
    """
    most = workflow.global_resources.get("gpu").value if STUDY.device_map else None
    return most or int(GPUS > 0 or CLUSTER)


# Cores of a GPU's job on a cluster; `max-threads` of the profile lowers the number.
BESIDE_GPU = 8


def cores(wildcards):
    """Return the cores of a job that needs the machine to itself: all, or few if a GPU does the work."""
    # Evaluated only when the job is created, since a machine that only submits jobs has no number of cores.
    if CLUSTER:
        return BESIDE_GPU
    return 2 if GPUS else workflow.cores


# One job of a cluster for all measurements of a cell; the profile says how many of them it joins.
CELL_GROUP = "cell-{model}-{method}-{ratio}-{seed}-{recovery}"


def cell_of(wildcards):
    """Return the cell of a job; that of a measure of scoring has no ratio."""
    ratio, recovery = wildcards.get("ratio"), wildcards.get("recovery", "none")
    return Cell(
        NAME,
        wildcards.model,
        wildcards.method,
        float(ratio) if ratio else None,
        int(wildcards.seed),
        recovery,
    )


# A recovery that goes on in its fiftieth job does not ask for fifty times as much.
MOST = 4


def limits(predicted):
    """Return three functions, for a rule's `mem_mb`, `gpu_mem_mb` and `runtime`, by the cost model.

    `predicted` gives the job of some wildcards. A job that was killed for memory or time gets more when it is tried
    again.
    """

    def mem_mb(wildcards, attempt):
        return main_memory_mb(predicted(wildcards), min(attempt, MOST))

    def gpu_mem_mb(wildcards, attempt):
        return gpu_memory_mb(predicted(wildcards), min(attempt, MOST))

    def runtime(wildcards, attempt):
        return minutes(predicted(wildcards), min(attempt, MOST))

    return mem_mb, gpu_mem_mb, runtime


def small_mem_mb(rule):
    """Return a function of the attempt: the MB that a job of a rule without a model's passes may take."""
    return lambda wildcards, attempt: main_memory_mb(COSTS.small(rule), min(attempt, MOST))


def small_runtime(rule):
    """Return a function of the attempt: the minutes that a job of a rule without a model's passes may take."""
    return lambda wildcards, attempt: minutes(COSTS.small(rule), min(attempt, MOST))


def in_turns(runtime):
    """Return the minutes of a measurement: those of a cell, one after another, fit into the longest job."""
    longest = workflow.global_resources.get("runtime").value
    if longest is None:
        return runtime
    turns = max(Counter(cell for cells in TOGETHER.values() for cell in cells).values(), default=1)
    return lambda wildcards, attempt: min(runtime(wildcards, attempt), longest // turns)


def cell_flag(wildcards):
    """Return the `--cell` value of a job, which identifies its result."""
    return spell_cell(cell_of(wildcards))


def any_of(names):
    """Return a wildcard constraint that matches these names only."""
    return "|".join(map(re.escape, names)) or "(?!)"


def methods_of(baseline):
    """Return the wildcard constraint for a baseline: the methods of the study that name it."""
    return any_of(name for name, method in STUDY.methods.items() if method.baseline == baseline)


def check_baseline_rules():
    """Fail unless each baseline's file has a rule of its name with one output at the contract's path."""
    places = {"checkpoint": f"{RESULTS}/{layout.CHECKPOINT}", "plan": f"{RESULTS}/{layout.PLAN}.safetensors"}
    for baseline in BASELINES:
        named = baseline in (found.name for found in workflow.rules)
        output = dict(getattr(rules, baseline).output.items()) if named else {}
        if output not in [{key: path} for key, path in places.items()]:
            raise WorkflowError(
                f"workflow/rules/baselines/{baseline}.smk: must have a rule {baseline!r} with one output, either "
                + " or ".join(f"{key}={path!r}" for key, path in places.items())
            )


def baseline_output(cell):
    """Return the output of a cell's baseline, a plan or the folder of a checkpoint."""
    output = getattr(rules, STUDY.methods[cell.method].baseline).output
    return layout.fill(output[0], cell)


def plan_files(cell):
    """Return the plan of a cell, or its baseline's output and proof of adoption; the dense model has none."""
    if cell.method == DENSE:
        return []
    plan = f"{RESULTS}/{layout.fill(layout.PLAN, cell)}"
    if cell.method in CRITERIA:
        return [f"{plan}.safetensors"]
    return [baseline_output(cell), f"{plan}.json"]


def plan_input(wildcards):
    """Return what `plan_files` does of the job's cell."""
    return plan_files(cell_of(wildcards))


def pruned_flag(path):
    """Return the flag for a plan, or for the folder of a checkpoint."""
    return f"--plan {path}" if path.endswith(".safetensors") else f"--checkpoint {path}"


def plan_flag(wildcards, input):
    """Return the `--plan` or `--checkpoint` flag of a cell, if it has one."""
    return pruned_flag(input.plan[0]) if input.plan else ""


def neurons_removed(budget, ratio, more=0):
    """Return the share of MLP neurons, and of `more` neurons a layer, to remove at a ratio of all parameters."""
    found = read_json(Path(budget))
    return found["neurons_removed"][ratio] + more / found["neurons"]


def measured_files(cell, names):
    """Return by role the files, or the folder of an adapter, that make the model of a cell for these measures."""
    found, plan = {}, plan_files(cell)
    if plan:
        found["plan" if plan[0].endswith(".safetensors") else "checkpoint"] = plan[0]
    if cell.recovery != "none":
        found["adapter"] = f"{RESULTS}/{layout.fill(layout.RECOVERY, cell)}"
    elif RESAMPLES and cell.method in CRITERIA and any(MEASURES[name].resampled for name in names):
        found["resampled"] = f"{RESULTS}/{layout.fill(layout.PLAN, cell)}{layout.RESAMPLED}"
    return found


def measured_input(cell, names):
    """Return the files that the measurement of a cell waits for."""
    found = measured_files(cell, names)
    if "adapter" in found:
        found["adapter"] = os.path.join(found["adapter"], ADAPTER)
    return [*found.values(), *plan_files(cell)[1:]]


def to_measure(cell, names):
    """Return a word of `hfprune cells --cells`."""
    place = {"cell": spell_cell(cell), "out": f"{RESULTS}/{layout.fill(layout.CELL, cell)}"}
    return json.dumps(place | measured_files(cell, names))


def allocation_flag(wildcards):
    """Return the flag of a method's allocation; none for the default, uniform."""
    allocation = STUDY.methods[wildcards.method].allocation
    if allocation == Allocation():
        return ""
    return f"--allocation {shlex.quote(allocation.model_dump_json(exclude_defaults=True))}"


def step_of(wildcards):
    """Return the step that a plan ends; the plan itself ends the last one."""
    return int(wildcards.get("step", STUDY.methods[wildcards.method].steps))


def scores_input(wildcards):
    """Return the scores that a plan is cut from."""
    step = step_of(wildcards)
    if step == 1:
        # Not a trigger: the sweep may only score other methods again. The other inputs decide.
        return ancient(f"{RESULTS}/{layout.SCORES}.safetensors".format(**wildcards))
    return f"{RESULTS}/{layout.STEP_SCORES}.safetensors".format(**{**wildcards, "step": step})


def resampled_scores(wildcards):
    """Return the resampled scores beside those of `scores_input`; the plan of a step in between needs none."""
    if not RESAMPLES or "step" in wildcards.keys():
        return []
    return ancient(str(layout.resampled_path(Path(scores_input(wildcards)))))


def part_flag(wildcards):
    """Return the part of the way to the ratio that a step in between goes."""
    steps = STUDY.methods[wildcards.method].steps
    return f"--part {step_of(wildcards) / steps:.6g}" if step_of(wildcards) < steps else ""


def own_budgets(wildcards, input):
    """Return commands that check the budgets of methods with ratios of their own, at these alone."""
    model = Path(input.model).parent
    wanted = {
        (json.dumps(method.units), ratio)
        for method in (STUDY.methods[name] for name in CRITERIA)
        for ratio in method.ratios or []
        if ratio in STUDY.ratios_of(wildcards.model) and json.dumps(method.units) not in UNITS
    }
    calls = (
        ["hfprune", "budget", "--model", str(model), "--ratios", f"{ratio:g}", "--units", units]
        for units, ratio in sorted(wanted)
    )
    return "".join(f" && {shlex.join(call)}" for call in calls)


def blocks_of(method):
    """Return the calibration blocks of a method, with wildcards; weight criteria read none."""
    if CRITERIA[method].needs == "weights":
        return []
    return f"{RESULTS}/{layout.BLOCKS}.safetensors".replace("{corpus}", STUDY.corpus_of(method))


def sequences_flag(method):
    """Return the `--sequences` flag of a method that reads a part of the calibration blocks."""
    sequences = STUDY.methods[method].sequences
    return f"--sequences {sequences}" if sequences else ""


def scored(method):
    """Return the settings of a method's scores besides the blocks, for `hfprune score --methods`."""
    criterion = CRITERIA[method]
    return {
        "criterion": STUDY.methods[method].criterion or method,
        "options": criterion.model_dump(mode="json"),
        "units": [*STUDY.methods[method].units],
        # Not for the command: after a raised version, this criterion's scores are computed again.
        "version": criterion.version,
    }


SCORED = {method: scored(method) for method in CRITERIA}
SWEEPS = sweeps(STUDY, CRITERIA)


def scoring_flags(wildcards, input):
    """Return the flags of scoring by a method: the criterion, the units, the blocks and the seed."""
    chosen = SCORED[wildcards.method]
    flags = ["--criterion", chosen["criterion"], "--options", json.dumps(chosen["options"])]
    flags += ["--units", json.dumps(chosen["units"]), *(["--blocks", input.blocks] if input.blocks else [])]
    return shlex.join([*flags, "--seed", wildcards.seed])


def measured(names, folder):
    """Return the output files of measures in a folder, with wildcards."""
    stems = [stem for name in names for stem in stems(name, MEASURES[name])]
    return [f"{RESULTS}/{folder}/{stem}.{suffix}" for stem in stems for suffix in ("json", "parquet")]


def asked(name):
    """Return a measure with its settings, for `hfprune cells --measures`."""
    return {"measure": STUDY.measures[name].measure or name} | MEASURES[name].model_dump(mode="json")


def measurements():
    """Yield measures, folders of their results, cells that take them, and a function of wildcards: a job's cells.

    There is one such tuple for all cells with the same measures or, where a job has several cells, for each job.
    """
    for names, cells in TOGETHER.items():
        if CELLS_PER_JOB == 1:
            yield names, [layout.CELL], cells, lambda wildcards: [cell_of(wildcards)]
            continue
        for batch in layout.batches(cells, STUDY, CELLS_PER_JOB):
            folders = [layout.fill(layout.CELL, cell) for cell in batch]
            yield names, folders, batch, lambda wildcards, batch=batch: batch


def where_cell_is(cells):
    """Return a constraint of the first wildcard of `layout.CELL` that matches the folders of these cells only."""
    folders = any_of(layout.fill(layout.CELL, cell).removeprefix("cells/") for cell in cells)
    return f"(?=(?:{folders})/)[^/]+"


def publication():
    """Return every table, verdict and figure of the study, and all results behind them."""
    return [
        # Every result by name: a deleted result is made again only if a target asks for it.
        *(f"{RESULTS}/{file}" for file in layout.result_files(NAME, STUDY)),
        *(f"{RESULTS}/{file}" for file in layout.item_files(NAME, STUDY)),
        *(f"{RESULTS}/{file}" for file in layout.distribution_files(STUDY)),
        *expand(f"{RESULTS}/{{file}}", file=layout.TIDY),
        *expand(f"{RESULTS}/{{file}}", file=["claims.csv", "claims.md", "claims.tex", "claims_by_task.csv"]),
        *expand(
            f"{RESULTS}/{{name}}.{{suffix}}",
            name=["comparison", "draws", "lost"],
            suffix=["csv", "md", "tex"],
        ),
        *expand(f"{RESULTS}/tables/{{name}}.{{suffix}}", name=layout.TABLES, suffix=["csv", "md", "tex"]),
        *expand(f"{FIGURES}/{{name}}.{{suffix}}", name=layout.FIGURES, suffix=["pdf", "svg", "png"]),
    ]
