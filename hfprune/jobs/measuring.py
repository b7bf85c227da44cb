"""The jobs that recover and measure pruned models."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, cast

from hfprune.jobs.files import Files, folder
from hfprune.jobs.job import Job, wildcards
from hfprune.jobs.scoring import scored
from hfprune.measures import Measure
from hfprune.recovery.settings import ADAPTER, ADAPTER_CONFIG, RECOVERED, SOLVED, Linear
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
            settings = Linear(ridges=[inf], bias=True, budget=settings.budget)
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
        **settings.pairs().model_dump(),
    )
    inputs = files.dense(model) | {"instructions": [f"{read}/asset.json"]}
    return Job("pack", config, inputs, {"pairs": [out]}, at, model)


def _recover(files: Files, cell: Cell) -> Job:
    settings, out = files.study.recovery, files.file(layout.RECOVERY, cell)
    assert settings is not None
    packed = files.file(layout.PAIRS, cell, ".safetensors")
    config = recover.Config(
        model=Path(folder("models", cell.model)),
        packed=Path(packed),
        options=settings.lora().model_dump(mode="json"),
        batch_tokens=settings.batch_tokens,
        seed=cell.seed,
        cell=spell_cell(cell),
        out=Path(out),
        linear=_solved_folder(files, cell),
        **files.changed(cell),
        **files.compute,
    )
    inputs = files.dense(cell.model) | files.dtype_file | {"plan": files.plan_files(cell), "packed": [packed]}
    inputs |= {"solved": _solved(files, cell)}
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
        settings.gpus,
    )


def measurements(files: Files) -> Iterator[Job]:
    """Yield the jobs that measure cells: all that is measured of a cell, or of several cells of a model."""
    number = count()
    for names, cells in layout.together(files.name, files.study, files.measures).items():
        for batch in layout.batches(cells, files.study, files.cells_per_job):
            yield _measure(files, names, batch, next(number))


def _measure(files: Files, names: tuple[str, ...], cells: list[Cell], number: int) -> Job:
    measures, model = {name: files.measures[name] for name in names}, cells[0].model
    config = measure.Config(
        model=Path(folder("models", model)),
        measures={name: _asked(files, name) for name in names},
        cells=[_to_measure(files, names, cell) for cell in cells],
        **_compute_of(files, measures.values()),
    )
    waits = [file for cell in cells for file in _measured_files(files, names, cell)]
    several = files.cells_per_job > 1
    return Job(
        layout.measuring(names) + (f"_{number}" if several else ""),
        config,
        files.dense(model) | _read(files, measures.values()) | {"cells": waits},
        {"results": [file for cell in cells for file in files.result_files(names, layout.place(cell))]},
        {} if several else wildcards(cells[0], recovery=cells[0].recovery),
        model,
        tuple(cells),
        "machine" if any(one.exclusive for one in measures.values()) else "device",
        trigger=[one.version for one in measures.values()],
    )


def measurements_of_scoring(files: Files) -> Iterator[Job]:
    """Yield the jobs that measure the scoring by each method itself, under the first seed."""
    for cell in layout.scorings(files.name, files.study):
        for name in layout.measures_of(files.study, files.measures, cell):
            yield _measure_scoring(files, name, cell)


def _measure_scoring(files: Files, name: str, cell: Cell) -> Job:
    one, model, method, seed = files.measures[name], cell.model, cell.method, cell.seed
    blocks, about = files.blocks(model, method, seed), scored(files, method)
    to_measure = measure.ToMeasure(
        cell=spell_cell(cell),
        out=Path(f"{files.results}/{layout.place(cell)}"),
        scored=measure.Scored(
            blocks=Path(blocks[0]) if blocks else None,
            units=dict.fromkeys(files.study.methods[method].units),
            seed=seed,
            criterion=about["criterion"],
            options=about["options"],
        ),
    )
    config = measure.Config(
        model=Path(folder("models", model)),
        measures={name: _asked(files, name)},
        cells=[to_measure],
        **_compute_of(files, [one]),
    )
    return Job(
        layout.measuring([name]),
        config,
        files.dense(model) | _read(files, [one]) | {"blocks": blocks},
        {"results": files.result_files([name], layout.place(cell))},
        {"model": model, "method": method, "seed": f"{seed}"},
        model,
        (cell,),
        "machine" if one.exclusive else "device",
        trigger=[one.version, about["version"]],
    )


def most_turns(jobs: Iterable[Job]) -> int:
    """Return the most jobs that measure one cell."""
    cells = Counter(cell for job in jobs if job.stage == "measure" for cell in job.cells)
    return max(cells.values(), default=1)


def place(job: Job) -> str:
    """Return the folder of a measurement's results, with the wildcards of its rule; a batch has several."""
    if not job.at:
        return "batches"
    return layout.CELL if "recovery" in job.at else layout.SCORING


def measured(files: Files, job: Job) -> list[str]:
    """Return the outputs of the rule of a measurement, with its wildcards."""
    if not job.at:
        return job.outputs["results"]
    return files.result_files(cast(measure.Config, job.config).measures, place(job))


def matching(jobs: Iterable[Job]) -> str:
    """Return a constraint of the first wildcard of the results: the folders of these jobs' cells only."""
    cells = [cell for job in jobs for cell in job.cells]
    known = "|".join(re.escape(layout.place(cell).removeprefix("cells/")) for cell in cells)
    return f"(?=(?:{known})/)[^/]+"


def _asked(files: Files, name: str) -> StudyMeasure:
    entry = files.study.measures[name]
    return StudyMeasure(measure=entry.measure or name, settings=entry.settings)


def _to_measure(files: Files, names: tuple[str, ...], cell: Cell) -> measure.ToMeasure:
    made: dict[str, Any] = dict(files.changed(cell))
    made["linear"] = _solved_folder(files, cell)
    if "lora" in cell.recovery:
        made["adapter"] = files.file(layout.RECOVERY, cell)
    if resampled := _resampled(files, names, cell):
        made["resampled"] = resampled[0]
    out = f"{files.results}/{layout.fill(layout.CELL, cell)}"
    return measure.ToMeasure(cell=spell_cell(cell), out=Path(out), **made)


def _measured_files(files: Files, names: tuple[str, ...], cell: Cell) -> list[str]:
    adapter = [f"{files.file(layout.RECOVERY, cell)}/{ADAPTER}"] * ("lora" in cell.recovery)
    return [*files.plan_files(cell), *_solved(files, cell), *adapter, *_resampled(files, names, cell)]


def _solved_folder(files: Files, cell: Cell) -> Path | None:
    """Return the folder of the weights or biases that were solved for a cell, if its method or recovery asks."""
    kind = layout.solves(files.study, cell)
    return Path(files.file(layout.RECOVERY, replace(cell, recovery=kind))) if kind else None


def _solved(files: Files, cell: Cell) -> list[str]:
    found = _solved_folder(files, cell)
    return [f"{found}/{SOLVED}"] if found else []


def _resampled(files: Files, names: tuple[str, ...], cell: Cell) -> list[str]:
    """Return the plans of resampled calibrations, if a measure is taken on them."""
    taken = any(files.measures[name].resampled for name in names) and files.study.calibration.resamples
    if not taken or cell.recovery != "none" or cell.method not in files.criteria:
        return []
    if files.study.methods[cell.method].bias:  # which is solved for the method's own plan
        return []
    return [files.file(layout.PLAN, cell, layout.RESAMPLED)]


def _compute_of(files: Files, measures: Iterable[Measure]) -> dict[str, Any]:
    own = next((one.dtype for one in measures if one.dtype), None)
    return files.compute | ({"dtype": own} if own else {})


def _read(files: Files, measures: Iterable[Measure]) -> dict[str, list[str]]:
    """Return what measures read, and the file of the dtype unless one has its own."""
    taken = [*measures]
    assets = sorted({asset for one in taken for asset in one.assets()})
    found = {
        "assets": [f"resources/{asset}/asset.json" for asset in assets],
        "files": sorted({str(path) for one in taken for path in one.files()}),
    }
    return found if any(one.dtype for one in taken) else found | files.dtype_file
