"""The study of one cell that `hfprune prune` makes, and its jobs."""

import re
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from hfprune.assets.catalogue import Catalogue, LocalSource, ModelAsset
from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.comparison.before_after import step_of
from hfprune.errors import HfpruneError
from hfprune.models.load import load_skeleton
from hfprune.models.on_disk import saved_dtype
from hfprune.models.units import count_parameters, gated_mlps, units_of
from hfprune.plans.counts import not_applicable
from hfprune.plans.planning import Plan, apply_plan, make_plan
from hfprune.pruning.beside_dense import READ, Declared
from hfprune.pruning.calibration_text import calibration_text
from hfprune.pruning.config import Pruning
from hfprune.pruning.faster_dtype import faster_dtype
from hfprune.pruning.folder import MODEL, WORK
from hfprune.pruning.recipe import PruningRecipe
from hfprune.pruning.rivals import rival_jobs
from hfprune.pruning.sample import Sample
from hfprune.settings import NAME, Dtype, load, validate
from hfprune.settings.recovery import fewest_sequences
from hfprune.stages import Stage
from hfprune.stages.export import Export
from hfprune.stages.jobs import list_jobs
from hfprune.stages.measure import MeasureCells
from hfprune.stages.plan import MakePlan
from hfprune.study import cells as study_cells
from hfprune.study.files import Files
from hfprune.study.study import Study

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Blocks of the calibration: a gradient costs more than a Gram matrix, and solved weights gain more from many.
SCORED, SOLVED = 32, 64
# What a sweep tries: close together where a small loss is decided. One pass serves all.
RATIOS = (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)
# Sequences of the pairs joined end to end, and few steps: minutes where the official script takes hours.
LORA = {"packing": "plain", "batch": 4, "length": 256, "max_steps": 40, "held_out": 8, "learning_rate": 5e-4}
LORA |= {"template": "own", "loss": "kl", "keep": "best"}
SAMPLE = "sample.json"


def fewest_blocks(asked: Pruning, recipe: PruningRecipe, model: Path) -> int:
    """Return the fewest blocks that linear recovery takes, or 0 without it; fail at a ratio that cannot be."""
    dense = load_skeleton(model)
    if ratio := asked.ratio:
        _plan_without_scores(dense, asked, recipe, ratio)
        if note := not_applicable(dense, ratio, asked.units, recipe.allocation):
            raise HfpruneError(f"ratio {ratio:g}: the method {note}; choose another ratio or other --units")
    widest = max(mlp.count for mlp in gated_mlps(dense))
    return fewest_sequences(widest, asked.length) if recipe.linear else 0


def _plan_without_scores(
    model: "PreTrainedModel", asked: Pruning, recipe: PruningRecipe, ratio: float
) -> Plan:
    """Return a plan of the size that one by scores will have, to half a neuron in the ranking `joint`."""
    units = units_of(model, [*asked.units])
    scores = {name: torch.zeros(unit.count) for name, unit in units.items()}
    return make_plan(model, scores, ratio, asked.units, recipe.allocation)


def _ratios(asked: Pruning, recipe: PruningRecipe, model: Path) -> list[float]:
    """Return the ratios of a sweep to which the model can be pruned."""
    possible = []
    for ratio in RATIOS:
        with suppress(HfpruneError):
            fewest_blocks(asked.model_copy(update={"ratio": ratio}), recipe, model)
            possible.append(ratio)
    return possible or [RATIOS[0]]  # the first job says why it cannot be


def ratio_within(asked: Pruning, recipe: PruningRecipe, source: Path) -> float:
    """Return the ratio of the largest pruned model within `params` or `size`."""
    model = load_skeleton(source)
    total, units = count_parameters(model), units_of(model, [*asked.units])
    finest = min(unit.parameters for unit in units.values())
    wide = (model.dtype if asked.dtype == "auto" else getattr(torch, asked.dtype)).itemsize
    # A file of safetensors says up to 200 bytes about a tensor.
    most = asked.params or ((asked.size or 0) - 200 * len(model.state_dict())) / wide
    flag = "--params" if asked.params else f"--size, at {wide} bytes a parameter"
    if most >= total:
        raise HfpruneError(f"{flag}: the model has {total:,} parameters, so nothing has to be removed")
    # Units of all layers go together, and their number is the nearest one: the next lies half of them further. In
    # the ranking `joint` scores decide whether half a neuron more or less goes.
    joint = recipe.allocation.rule == "joint"
    half = (1 if joint else len(units)) * finest / total / 2
    ratio = 1 - most / total + half * joint
    while count_parameters(model) > most:
        ratio, model = ceil(1e6 * ratio) / 1e6, load_skeleton(source)
        try:
            apply_plan(model, _plan_without_scores(model, asked, recipe, ratio))
        except HfpruneError as error:
            raise HfpruneError(_too_little(asked, recipe, source, flag, wide)) from error
        ratio += half
    return round(ratio - half, 6)


def _too_little(asked: Pruning, recipe: PruningRecipe, source: Path, flag: str, wide: int) -> str:
    """Return the line that says how small the model becomes at most, in parameters and bytes."""
    least, possible, impossible = 0, 0.0, 1.0
    while impossible - possible > 1e-4:
        ratio, model = (possible + impossible) / 2, load_skeleton(source)
        try:
            apply_plan(model, _plan_without_scores(model, asked, recipe, ratio))
            least, possible = count_parameters(model), ratio
        except HfpruneError:
            impossible = ratio
    if not least:
        return f"{flag}: no size can be reached with these --units and this --allocation"
    given = f"{asked.params:,} parameters are" if asked.params else f"{_bytes(asked.size or 0)} is"
    return (
        f"{flag}: {given} too little: without all {' and '.join(asked.units)} that can go, the model has about "
        f"{least:,} parameters, {_bytes(least * wide)}"
    )


def _bytes(size: float) -> str:
    return tqdm.format_sizeof(size, "B")


def one_cell(
    asked: Pruning, recipe: PruningRecipe, folders: dict[str, Path], measures: dict[str, Declared], least: int
) -> Files:
    """Return the study of a call, with all its files in the folder `work`, from its assets' folders by kind.

    That of a call without a ratio is a sweep, before any training: losses are those after reconstruction, times
    those after pruning, whose shapes it leaves.
    """
    others = {asset: at for asset, at in folders.items() if "/" in asset}
    folders = {kind: at for kind, at in folders.items() if kind not in others}
    names = {kind: re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "_", at.resolve().name) for kind, at in folders.items()}
    names = {kind: name if re.fullmatch(NAME, name) else f"my{name}" for kind, name in names.items()}
    method = {"criterion": recipe.criterion, "options": recipe.options, "units": asked.units}
    scored = asked.sequences or SCORED
    steps = ["linear"] * recipe.linear + ["lora"] * bool(asked.recover and asked.ratio)
    # Each step on those before it, so that each is measured.
    recoveries = ["none", *("+".join(steps[: count + 1]) for count in range(len(steps)))]
    swept = ["none"] * bool(asked.speedup) + recoveries[-1:] * bool(asked.max_loss)
    study = {
        "models": [names["models"]],
        "methods": {recipe.criterion: method | {"allocation": recipe.allocation}},
        "ratios": [asked.ratio] if asked.ratio else _ratios(asked, recipe, folders["models"]),
        "draws": [asked.seed],
        "recoveries": recoveries if asked.ratio else [*dict.fromkeys(swept)],
        "recovery": LORA | {"instructions": names["instructions"]} if asked.recover else None,
        "dtype": asked.dtype if asked.dtype != "auto" else _dtype(asked, folders["models"]),
        "device_map": asked.device_map,
        "calibrations": {
            names["corpora"]: {
                "corpus": names["corpora"],
                "sequences": max(least, asked.sequences or (SOLVED if recipe.linear else SCORED)),
                "length": asked.length,
                # Scores read half of the blocks: of a mix, blocks of all its pieces, as in the study `recipe`.
                "sampling": "shuffle" if calibration_text(asked).shares else "pack",
                "sizes": {scored: 1},
            }
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


def _dtype(asked: Pruning, model: Path) -> Dtype:
    """Return the faster precision, or that of weights that stay on disk."""
    on_disk = asked.device_map == "disk"
    return saved_dtype(model) if on_disk else faster_dtype(model, asked.out / WORK)


def jobs_of(files: Files, asked: Pruning, recovery: Recovery) -> dict[str, Stage]:
    """Return the jobs by their titles, in order: the model after this recovery and its export, then what it lost.

    Where several steps are measured, the export comes after, since it is of the step that is worth taking.
    """
    # Pairs first: too few of them cost no scoring.
    jobs = sorted(_listed(files), key=lambda job: job.stage != "pack")
    read = {file for job in jobs for file in job.inputs()}
    steps = {
        job.stage: job
        for job in jobs
        if job.stage != "measure" and (job.stage != "calibrate" or read.intersection(job.outputs()))
    }
    cells = [cell for cell in study_cells.cells(files.name, files.study) if cell.method != DENSE]
    (cell,) = (cell for cell in cells if cell.recovery == recovery)
    dense, changes = files.asset("models", cell.model), files.changes(cell)
    export = Export(
        model=dense,
        **changes,
        # Weights stay as they were saved, unless a precision is asked for.
        dtype=None if asked.dtype == "auto" else asked.dtype,
        device_map=asked.device_map,
        align=asked.align or 1,
        plain=asked.plain,
        command=_to_the_same(asked, recovery).again() if len(cells) > 1 else asked.again(),
        out=asked.out / MODEL,
    )
    measured: dict[str, MeasureCells] = {}
    # All that is measured of a model at once, for nothing else runs; times last, which keep both models.
    for job in sorted((job for job in jobs if isinstance(job, MeasureCells)), key=lambda job: job.timed):
        of = job.named_cells()[0]
        title = f"measure {DENSE if of.method == DENSE else step_of(of.recovery)}"
        same = measured.setdefault(title, job)
        measured[title] = MeasureCells(**dict(same) | {"measures": same.measures | job.measures})
    if not measured:
        return steps | {"export": export}
    first, *others = measured.values()
    for job in others:
        job.follow(first)
    made = measured | {"export": export} if len(cells) > 1 else {"export": export} | measured
    if asked.device_map == "disk":  # each token of the sample would read the whole model
        return steps | made
    text = files.asset("corpora", READ)
    fast = faster_dtype(dense, asked.out / WORK, decoding=True) if asked.dtype == "auto" else asked.dtype
    last: dict[str, Stage] = {
        "sample": Sample(
            model=dense, **changes, dtype=fast, device_map=asked.device_map, text=text, out=files.file(SAMPLE)
        )
    }
    if asked.beside:
        last |= rival_jobs(files, asked, measured[f"measure {step_of(recovery)}"], measured)
    return steps | made | last


def _to_the_same(asked: Pruning, recovery: Recovery) -> Pruning:
    """Return the call that takes this step whatever it measures, since what was measured chose the step here."""
    steps = {"linear": recovery.reconstructs, "recover": asked.recover if recovery.trains else None}
    return asked.model_copy(update={**steps, "keep_recovery": True})


def swept_jobs(files: Files) -> dict[str, Stage]:
    """Return the jobs of a sweep by their titles; all losses are one, the dense model's first, and all times."""
    jobs: dict[str, Stage] = {}
    last = files.study.recoveries[-1]
    for job in _listed(files):
        title = f"plan {job.ratio:g}" if isinstance(job, MakePlan) else job.stage
        if isinstance(job, MeasureCells):
            (cell,) = job.named_cells()
            if not job.timed and cell.method != DENSE and cell.recovery != last:
                continue
            title += " speed" * job.timed
            if isinstance(earlier := jobs.get(title), MeasureCells):
                job = MeasureCells(**dict(job) | {"cells": [*earlier.cells, *job.cells]})
        jobs[title] = job
    return jobs


def _listed(files: Files) -> Iterator[Stage]:
    """Yield the study's jobs but those that fetch, and those that take the dense model as a control."""
    for job in list_jobs(files):
        dense = [cell for cell in job.named_cells() if cell.method == DENSE]
        measures = job.built_measures.values() if isinstance(job, MeasureCells) and dense else ()
        control = any(cell.recovery is not Recovery.NONE for cell in dense) or any(
            x.needs != "model" for x in measures
        )
        if job.stage != "fetch" and not control:
            yield job
