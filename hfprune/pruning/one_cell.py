"""The study of one cell that `hfprune prune` makes, and its jobs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfprune.analysis.steps import step_of
from hfprune.assets.catalogue import Catalogue, LocalSource, ModelAsset
from hfprune.criteria import CRITERIA
from hfprune.devices.known import nominal_cpu, visible_device
from hfprune.errors import HfpruneError
from hfprune.jobs import list_jobs
from hfprune.models.load import load_skeleton
from hfprune.plans.counts import kept_units, not_applicable
from hfprune.pruning.config import Pruning
from hfprune.pruning.folder import MODEL, WORK
from hfprune.pruning.recipe import PruningRecipe
from hfprune.pruning.sample import Sample
from hfprune.recoveries import fewest_sequences
from hfprune.results import DENSE
from hfprune.settings import NAME, load, validate
from hfprune.stages import Stage
from hfprune.stages.export import Export
from hfprune.stages.measure import MeasureCells
from hfprune.study import layout
from hfprune.study.places import Files
from hfprune.study.study import Study

# Blocks of the calibration: a gradient costs more than a Gram matrix, and solved weights gain more from many.
SCORED, SOLVED = 32, 64
# Sequences of the pairs joined end to end, and few steps: minutes where the official script takes hours.
# Nothing here shows a learning curve.
LORA = {"packing": "plain", "batch": 8, "length": 256, "max_steps": 40, "held_out": 0}
SAMPLE = "sample.json"


def fewest_blocks(asked: Pruning, recipe: PruningRecipe, model: Path) -> int:
    """Return the fewest blocks that linear recovery takes, or 0 without it.

    Raises:
        HfpruneError: the model cannot be pruned to this ratio, or not by what the recipe says.
    """
    dense = load_skeleton(model)
    kept = kept_units(dense, asked.ratio, asked.units, spared=sum(recipe.allocation.spare))
    if note := not_applicable(dense, asked.ratio, asked.units, recipe.allocation):
        raise HfpruneError(f"ratio {asked.ratio:g}: the method {note}; choose another ratio or other --units")
    return fewest_sequences(kept.get("neurons", 0), asked.length) if recipe.linear else 0


def one_cell(
    asked: Pruning, recipe: PruningRecipe, folders: dict[str, Path], measures: dict[str, Any], least: int
) -> Files:
    """Return the study of a call, with all its files in the folder `work`, from its assets' folders by kind."""
    others = {asset: at for asset, at in folders.items() if "/" in asset}
    folders = {kind: at for kind, at in folders.items() if kind not in others}
    names = {kind: re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "_", at.resolve().name) for kind, at in folders.items()}
    names = {kind: name if re.fullmatch(NAME, name) else f"my{name}" for kind, name in names.items()}
    method: dict[str, Any] = {"criterion": recipe.criterion, "options": recipe.options, "units": asked.units}
    if CRITERIA.load(recipe.criterion).needs != "weights":
        method["sequences"] = asked.sequences or SCORED
    steps = ["linear"] * recipe.linear + ["lora"] * bool(asked.recover)
    study = {
        "models": [names["models"]],
        "methods": {recipe.criterion: method | {"allocation": recipe.allocation}},
        "ratios": [asked.ratio],
        "seeds": [asked.seed],
        # Each step on those before it, so that each is measured.
        "recoveries": ["none", *("+".join(steps[: count + 1]) for count in range(len(steps)))],
        "recovery": LORA | {"instructions": names["instructions"]} if asked.recover else None,
        "dtype": _fast_dtype() if asked.dtype == "auto" else asked.dtype,
        "calibration": {
            "corpus": names["corpora"],
            "sequences": max(least, asked.sequences or (SOLVED if recipe.linear else SCORED)),
            "length": asked.length,
            "sampling": "pack",
        },
        "measures": measures,
    }
    local = ModelAsset(source=LocalSource(provider="local", path=folders["models"]))
    return Files(
        "prune",
        validate(Study, study, "prune"),
        load(Catalogue, asked.catalogue).model_copy(update={"models": {names["models"]: local}}),
        baselines={},
        results=asked.out / WORK,
        resources=asked.resources,
        elsewhere=others | {f"{kind}/{names[kind]}": folder for kind, folder in folders.items()},
    )


def _fast_dtype() -> str:
    """Return bfloat16 on a GPU or a processor with AMX, else float32: a run that resumes finds the same."""
    device = visible_device() or nominal_cpu()
    return "bfloat16" if device.on_gpu or device.name == "cpu-amx" else "float32"


def jobs_of(files: Files, asked: Pruning, recovery: str) -> dict[str, Stage]:
    """Return the jobs by their titles, in order: the model and its export first, then what it lost.

    Where several steps are measured, the export comes after, since it is of the step that is worth taking.

    Args:
        files: the study of the call.
        asked: the call.
        recovery: the one of the study's recoveries whose model is exported.
    """
    jobs = [*_listed(files)]
    read = {file for job in jobs for file in job.inputs()}
    found = {
        job.stage: job
        for job in jobs
        if job.stage != "measure" and (job.stage != "calibrate" or job.out in read)
    }
    cells = [cell for cell in layout.cells(files.name, files.study) if cell.method != DENSE]
    (cell,) = (cell for cell in cells if cell.recovery == recovery)
    pruned = files.reading(cell.model) | files.changes(cell)
    # Weights stay as they were saved, unless a precision is asked for.
    dtype = {"dtype": None if asked.dtype == "auto" else asked.dtype}
    more = {"align": asked.align or 1, "command": asked.again()}
    export = Export(**pruned | dtype | more, out=asked.out / MODEL)
    measured: dict[str, Stage] = {}
    # All that is measured of a model at once, for nothing else runs; times last, which keep both models.
    for job in sorted((job for job in jobs if isinstance(job, MeasureCells)), key=lambda job: job.timed):
        of = job.named_cells()[0]
        title = f"measure {DENSE if of.method == DENSE else step_of(of.recovery)}"
        first = measured.setdefault(title, job)
        assert isinstance(first, MeasureCells)
        measured[title] = MeasureCells(**dict(first) | {"measures": first.measures | job.measures})
    if not measured:
        return found | {"export": export}
    last = {"sample": Sample(**pruned, out=files.file(SAMPLE))}
    return found | (measured | {"export": export} if len(cells) > 1 else {"export": export} | measured) | last


def _listed(files: Files) -> Iterator[Any]:
    """Yield the study's jobs but those that fetch, and those that take the dense model as a control."""
    for job in list_jobs(files):
        dense = [cell for cell in job.named_cells() if cell.method == DENSE]
        measures = job.made.values() if isinstance(job, MeasureCells) and dense else ()
        control = any(cell.recovery != "none" for cell in dense) or any(x.needs != "model" for x in measures)
        if job.stage != "fetch" and not control:
            yield job
