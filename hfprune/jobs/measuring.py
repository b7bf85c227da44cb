"""The jobs that recover and measure pruned models."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, cast

from hfprune.jobs.files import Files, folder
from hfprune.jobs.job import Job, wildcards
from hfprune.jobs.scoring import scored
from hfprune.recovery.settings import ADAPTER, ADAPTER_CONFIG, RECOVERED, SOLVED, Linear, Lora, Packing
from hfprune.results import Cell, spell_cell
from hfprune.stages import linear, measure, pack, recover
from hfprune.study import layout
from hfprune.study.entries import StudyMeasure


def recoveries(files: Files) -> Iterator[Job]:
    """Yield the jobs that solve weights again, pack the instruction pairs, and train adapters."""
    yield from _linear(files)
    for model in files.study.models:
        if files.study.trains(model):
            yield from (_pack(files, model, seed) for seed in files.study.seeds)
    for cell in layout.cells(files.name, files.study):
        if "lora" in cell.recovery:
            yield _recover(files, cell)


def _linear(files: Files) -> Iterator[Job]:
    """Yield the jobs that solve weights or biases: one pass over the calibration for all plans of a model."""
    together: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in layout.cells(files.name, files.study):
        if kind := layout.solves(files.study, cell):
            blocks = files.file(
                layout.BLOCKS, cell, ".safetensors", corpus=files.study.corpus_of(cell.method)
            )
            of_job = together.setdefault((cell.model, kind, blocks), [])
            of_job += [one for one in [replace(cell, recovery=kind)] if one not in of_job]
    for number, ((model, kind, blocks), cells) in enumerate(together.items()):
        plans = [files.plan_files(cell)[0] for cell in cells]
        folders = [files.file(layout.RECOVERY, cell) for cell in cells]
        settings = files.study.linear
        if kind == "bias":
            settings = Linear(ridges=[inf], bias=True)
        config = linear.Config(
            model=Path(folder("models", model)),
            blocks=Path(blocks),
            cells=[
                linear.ToSolve(plan=Path(plan), cell=spell_cell(cell), out=Path(out))
                for plan, cell, out in zip(plans, cells, folders, strict=True)
            ],
            **settings.model_dump(),
            **files.compute,
        )
        inputs = files.dense(model) | files.dtype_file | {"blocks": [blocks], "plans": plans}
        outputs = {"solved": [f"{out}/{name}" for out in folders for name in (SOLVED, RECOVERED)]}
        yield Job(f"linear_{number}", config, inputs, outputs, {}, model, tuple(cells), takes="machine")


def _pack(files: Files, model: str, seed: int) -> Job:
    settings = files.study.recovery
    at: dict[str, Any] = {"model": model, "seed": f"{seed}"}
    assert settings is not None  # a study with `lora` has the section
    out = files.file(layout.PAIRS, suffix=".safetensors", **at)
    read = folder("instructions", settings.instructions)
    config = pack.Config(
        model=Path(folder("models", model)),
        instructions=Path(read),
        seed=seed,
        out=Path(out),
        **settings.model_dump(include={*Packing.model_fields}),
    )
    inputs = files.dense(model) | {"instructions": [f"{read}/asset.json"]}
    return Job("pack", config, inputs, {"pairs": [out]}, at, model)


def _recover(files: Files, cell: Cell) -> Job:
    settings, out = files.study.recovery, files.file(layout.RECOVERY, cell)
    assert settings is not None
    packed, solved = files.file(layout.PAIRS, cell, ".safetensors"), _solved_folder(files, cell)
    config = recover.Config(
        model=Path(folder("models", cell.model)),
        packed=Path(packed),
        options=settings.model_dump(mode="json", include={*Lora.model_fields}),
        batch_tokens=settings.batch_tokens,
        seed=cell.seed,
        cell=spell_cell(cell),
        out=Path(out),
        linear=solved,
        **files.changed(cell),
        **files.compute,
    )
    inputs = files.dense(cell.model) | files.dtype_file | {"plan": files.plan_files(cell), "packed": [packed]}
    inputs |= {"solved": [f"{solved}/{SOLVED}"] if solved else []}
    outputs = {"adapter": [f"{out}/{name}" for name in (ADAPTER, ADAPTER_CONFIG, RECOVERED)]}
    return Job(
        "recover",
        config,
        inputs,
        outputs,
        wildcards(cell, recovery=cell.recovery),
        cell.model,
        (cell,),
        "device",
    )


def measurements(files: Files) -> Iterator[Job]:
    """Yield the jobs that measure cells: all that is measured of a cell, or of several cells of a model."""
    number = count()
    for names, cells in layout.together(files.name, files.study, files.measures).items():
        for batch in layout.batches(cells, files.study, files.cells_per_job):
            yield _measure(files, names, batch, next(number))


def _measure(files: Files, names: tuple[str, ...], cells: list[Cell], number: int) -> Job:
    to_measure = {cell: _to_measure(files, names, cell) for cell in cells}
    waits = [file for cell, one in to_measure.items() for file in _measured_files(files, cell, one)]
    if files.cells_per_job > 1:
        rule, at = f"{layout.measuring(names)}_{number}", {}
    else:
        rule, at = layout.measuring(names), wildcards(cells[0], recovery=cells[0].recovery)
    return _job(files, names, to_measure, {"cells": waits}, rule, at)


def _job(
    files: Files,
    names: Iterable[str],
    cells: Mapping[Cell, measure.ToMeasure],
    inputs: dict[str, list[str]],
    rule: str,
    at: dict[str, str],
) -> Job:
    """Return the job that takes these measures of cells of one model, and reads `inputs` besides the model."""
    taken, model = [files.measures[name] for name in names], next(iter(cells)).model
    entries = {name: files.study.measures[name] for name in names}
    own = next((one.dtype for one in taken if one.dtype), None)
    config = measure.Config(
        model=Path(folder("models", model)),
        measures={
            name: StudyMeasure(measure=entry.measure or name, settings=entry.settings)
            for name, entry in entries.items()
        },
        cells=[*cells.values()],
        **files.compute | ({"dtype": own} if own else {}),
    )
    assets = sorted({asset for one in taken for asset in one.assets()})
    inputs = files.dense(model) | ({} if own else files.dtype_file) | inputs
    inputs |= {
        "assets": [f"resources/{asset}/asset.json" for asset in assets],
        "files": sorted({str(path) for one in taken for path in one.files()}),
    }
    results = [file for cell in cells for file in files.result_files(names, layout.results_of(cell))]
    return Job(
        rule,
        config,
        inputs,
        {"results": results},
        at,
        model,
        tuple(cells),
        "machine" if any(one.exclusive for one in taken) else "device",
        timed=any(one.exclusive for one in taken),
        trigger=[one.version for one in taken],
    )


def measurements_of_scoring(files: Files) -> Iterator[Job]:
    """Yield the jobs that measure the scoring by each method itself, under the first seed."""
    for cell in layout.scorings(files.name, files.study):
        for name in layout.measures_of(files.study, files.measures, cell):
            yield _measure_scoring(files, name, cell)


def _measure_scoring(files: Files, name: str, cell: Cell) -> Job:
    about, blocks = scored(files, cell.method), files.blocks(cell.model, cell.method, cell.seed)
    to_measure = measure.ToMeasure(
        cell=spell_cell(cell),
        out=Path(files.results, layout.results_of(cell)),
        scored=measure.Scored(
            blocks=Path(blocks[0]) if blocks else None,
            units=dict.fromkeys(files.study.methods[cell.method].units),
            seed=cell.seed,
            criterion=about["criterion"],
            options=about["options"],
        ),
    )
    at = {"model": cell.model, "method": cell.method, "seed": f"{cell.seed}"}
    job = _job(files, [name], {cell: to_measure}, {"blocks": blocks}, layout.measuring([name]), at)
    return replace(job, trigger=[*job.trigger, about["version"]])


def most_turns(jobs: Iterable[Job]) -> int:
    """Return the most jobs that measure one cell."""
    cells = Counter(cell for job in jobs if job.stage == "measure" for cell in job.cells)
    return max(cells.values(), default=1)


def results_folder(job: Job) -> str:
    """Return the folder of a measurement's results, with the wildcards of its rule; a batch has several."""
    if not job.at:
        return "batches"
    return layout.CELL if "recovery" in job.at else layout.SCORING


def measured(files: Files, job: Job) -> list[str]:
    """Return the outputs of the rule of a measurement, with its wildcards."""
    if not job.at:
        return job.outputs["results"]
    return files.result_files(cast(measure.Config, job.config).measures, results_folder(job))


def matching(jobs: Iterable[Job]) -> str:
    """Return a constraint of the first wildcard of the results: the folders of these jobs' cells only."""
    cells = [cell for job in jobs for cell in job.cells]
    known = "|".join(re.escape(layout.results_of(cell).removeprefix("cells/")) for cell in cells)
    return f"(?=(?:{known})/)[^/]+"


def _to_measure(files: Files, names: tuple[str, ...], cell: Cell) -> measure.ToMeasure:
    return measure.ToMeasure(
        cell=spell_cell(cell),
        out=Path(files.results, layout.results_of(cell)),
        linear=_solved_folder(files, cell),
        adapter=Path(files.file(layout.RECOVERY, cell)) if "lora" in cell.recovery else None,
        resampled=_resampled(files, names, cell),
        **files.changed(cell),
    )


def _measured_files(files: Files, cell: Cell, one: measure.ToMeasure) -> list[str]:
    known = one.linear and one.linear / SOLVED, one.adapter and one.adapter / ADAPTER, one.resampled
    return [*files.plan_files(cell), *(str(file) for file in known if file)]


def _solved_folder(files: Files, cell: Cell) -> Path | None:
    """Return the folder of the weights or biases that were solved for a cell, if its method or recovery asks."""
    kind = layout.solves(files.study, cell)
    return Path(files.file(layout.RECOVERY, replace(cell, recovery=kind))) if kind else None


def _resampled(files: Files, names: tuple[str, ...], cell: Cell) -> Path | None:
    """Return the plans of resampled calibrations, if a measure is taken on them."""
    taken = any(files.measures[name].resampled for name in names) and files.study.calibration.resamples
    if not taken or cell.recovery != "none" or cell.method not in files.criteria:
        return None
    if files.study.methods[cell.method].bias:  # which is solved for the method's own plan
        return None
    return Path(files.file(layout.PLAN, cell, layout.RESAMPLED))
