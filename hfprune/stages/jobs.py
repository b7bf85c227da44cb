"""The jobs of a study: one list for the workflow, the cost model and `hfprune prune`."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path

from hfprune.assets.catalogue import Catalogue
from hfprune.cells import Cell
from hfprune.cells.recovery import Recovery
from hfprune.rounding import spelt_ratio
from hfprune.settings.recovery import RECOVERED, Linear
from hfprune.stages import Stage
from hfprune.stages.adopt import Adopt
from hfprune.stages.budget import Budget
from hfprune.stages.calibrate import Calibrate
from hfprune.stages.fetch import Fetch
from hfprune.stages.linear import SolveLinear, ToSolve
from hfprune.stages.measure import MeasureCells, ScoredBy, ToMeasure
from hfprune.stages.pack import Pack
from hfprune.stages.plan import MakePlan
from hfprune.stages.recover import Recover
from hfprune.stages.score import Score
from hfprune.study import cells as study_cells
from hfprune.study import paths
from hfprune.study.files import Files, sweeps
from hfprune.study.method import Method
from hfprune.study.references import study_assets


def list_jobs(files: Files) -> Iterator[Stage]:
    """Yield every job of a study in order, except those of baselines and of tables, figures and pages."""
    study = files.study
    yield from (_fetch(files, asset) for asset in study_assets(study) if asset not in files.elsewhere)
    for model in study.models:
        yield from (_budget(files, model, ratio) for ratio in study.ratios_of(model))
        for calibration, draw in product(study.calibrations_of(model), study.draws):
            yield _calibrate(files, model, calibration, draw)
    for methods, models in sweeps(study, files.criteria):
        for model in models:
            for calibration, draw in product(study.calibrations_of(model), study.draws):
                yield _score(files, methods, model, calibration, draw)
    for cell in files.pruned():
        if cell.method in files.criteria:
            yield _plan(files, cell)
        elif study.methods[cell.method].baseline:
            yield _adopt(files, cell)
    yield from _linear(files)
    for model in filter(study.trains, study.models):
        yield from (_pack(files, model, draw) for draw in study.draws)
    for cell in study_cells.cells(files.name, study):
        if cell.recovery.trains:
            yield _recover(files, cell)
    yield from _measurements(files)


def collected(files: Files, jobs: Iterable[Stage]) -> list[Path]:
    """Return the outputs of jobs that `collect` reads: results with their items, scores and plans.

    Weights that were solved for an adapter are left out.
    """
    recovered = {
        files.file(paths.RECOVERY, cell) / RECOVERED for cell in study_cells.cells(files.name, files.study)
    }
    folders = {files.file(folder) for folder in ("scores", "plans", "cells")}
    written = [file for job in jobs for file in job.outputs()]
    return [file for file in written if file in recovered or folders & {*file.parents}]


def most_turns(jobs: Iterable[Stage]) -> int:
    """Return the largest number of jobs that measure the same cell."""
    cells = Counter(cell for job in jobs if job.stage == "measure" for cell in job.named_cells())
    return max(cells.values(), default=1)


def _fetch(files: Files, asset: str) -> Fetch:
    kind, _, name = asset.partition("/")
    entry = getattr(files.catalogue, kind)[name]
    return Fetch(entries=Catalogue(**{kind: {name: entry}}), resources=files.resources)


def _budget(files: Files, model: str, ratio: float) -> Budget:
    methods = [
        method
        for name, method in files.study.methods.items()
        if name in files.study.methods_of(model) and name in files.criteria
        if ratio in (method.ratios or [ratio])
    ]
    units = sorted({(json.dumps(method.units), sum(method.allocation.spare)) for method in methods})
    return Budget(
        model=files.asset("models", model),
        ratios=[ratio],
        units=[json.loads(kinds) for kinds, _ in units] or [{"neurons": None}],
        spare=[spared for _, spared in units] if any(spared for _, spared in units) else [],
        out=files.record(paths.BUDGET, model=model, ratio=spelt_ratio(ratio)),
    )


def _calibrate(files: Files, model: str, calibration: str, draw: int) -> Calibrate:
    study, read = files.study, files.study.calibrations[calibration]
    writes = read.continued_after is not None
    return Calibrate(
        model=files.asset("models", model),
        corpus=files.asset("corpora", read.corpus),
        blocks=read,
        seed=draw,
        out=files.tensors(paths.BLOCKS, model=model, calibration=calibration, draw=draw),
        continued_after=read.continued_after,
        dtype=study.dtype if writes else "float32",
        device_map=study.device_map if writes else None,
    )


def _score(files: Files, methods: list[str], model: str, calibration: str, draw: int) -> Score:
    """Return the job that scores a model by these methods, which share their passes."""
    study, chosen = files.study, [files.study.methods[method] for method in methods]
    read = study.calibrated(model, methods[0])
    sequences = next(calibrated.sequences for calibrated in read if calibrated.calibration == calibration)
    several = Cell(files.name, model, "{method}", calibration, sequences, None, draw, Recovery.NONE)
    sizes = study.calibrations[calibration].sizes if study.reads(methods[0]) else {}
    size, sample = ("{sequences}", "{draw}") if sizes else (str(sequences), str(draw))
    return Score(
        model=files.asset("models", model),
        dtype=study.dtype,
        device_map=study.device_map,
        blocks=files.blocks(replace(several, method=methods[0])),
        methods=dict(zip(methods, chosen, strict=True)),
        units=dict.fromkeys(chosen[0].units),
        sizes=sizes,
        resamples=study.resamples,
        seed=draw,
        cell=several,
        out=files.tensors(
            paths.SCORES, model=model, method="{method}", calibration=calibration, sequences=size, draw=sample
        ),
        after=[files.record(paths.METHOD, method=method) for method in methods],
    )


def _plan(files: Files, cell: Cell) -> MakePlan:
    method, blocks = files.study.methods[cell.method], files.blocks(cell)
    scores = files.tensors(paths.SCORES, cell)
    return MakePlan(
        model=files.asset("models", cell.model),
        scores=scores,
        resampled=scores.with_suffix(paths.RESAMPLED) if files.study.resamples else None,
        ratio=cell.cut_at,
        units=method.units,
        allocation=method.allocation,
        cell=cell,
        out=files.tensors(paths.PLAN, cell),
        after=[files.record(paths.METHOD, method=cell.method), *([blocks] if blocks else [])],
    )


def _adopt(files: Files, cell: Cell) -> Adopt:
    return Adopt(
        model=files.asset("models", cell.model),
        ratio=cell.cut_at,
        cell=cell,
        out=files.record(paths.PLAN, cell),
        **files.changed(cell),
    )


def _linear(files: Files) -> Iterator[SolveLinear]:
    """Yield the jobs that solve weights or biases: one pass over the calibration for all plans of a model."""
    together: dict[tuple[str, Recovery, Path], list[Cell]] = {}
    for cell in study_cells.cells(files.name, files.study):
        solution = study_cells.solution(files.study, cell)
        if solution is not Recovery.NONE:
            sharing = together.setdefault((cell.model, solution, files.drawn(cell)), [])
            solved = replace(cell, recovery=solution)
            if solved not in sharing:
                sharing.append(solved)
    bias = Linear(ridges=[inf])
    for (model, solution, blocks), cells in together.items():
        yield SolveLinear(
            model=files.asset("models", model),
            dtype=files.study.dtype,
            device_map=files.study.device_map,
            blocks=blocks,
            cells=[
                ToSolve(
                    plan=files.tensors(paths.PLAN, cell),
                    cell=cell,
                    out=files.file(paths.RECOVERY, cell),
                )
                for cell in cells
            ],
            linear=bias if solution is Recovery.BIAS else files.study.linear,
        )


def _pack(files: Files, model: str, draw: int) -> Pack:
    settings = files.study.recovery
    assert settings is not None  # a study with `lora` has the section
    return Pack(
        model=files.asset("models", model),
        instructions=files.asset("instructions", settings.instructions),
        packing=settings,
        seed=draw,
        out=files.tensors(paths.PAIRS, model=model, draw=draw),
    )


def _recover(files: Files, cell: Cell) -> Recover:
    settings = files.study.recovery
    assert settings is not None
    return Recover(
        model=files.asset("models", cell.model),
        dtype=files.study.dtype,
        **files.changed(cell),
        linear=files.solved(cell),
        packed=files.tensors(paths.PAIRS, cell),
        options=settings,
        batch_tokens=settings.batch_tokens,
        seed=cell.draw,
        cell=cell,
        out=files.file(paths.RECOVERY, cell),
        after=files.adopted([cell]),
    )


def _measurements(files: Files) -> Iterator[MeasureCells]:
    """Yield the jobs that measure cells, and those that measure scoring itself."""
    study = files.study
    for names, cells in study_cells.together(files.name, study, files.measures).items():
        for batch in study_cells.batches(cells, study, files.cells_per_job):
            yield _measure(files, names, {cell: _to_measure(files, names, cell) for cell in batch})
    for cell in study_cells.scorings(files.name, study):
        scored = ScoredBy(
            criterion=study.methods[cell.method].criterion or cell.method,
            options=files.criteria[cell.method].model_dump(mode="json"),
            blocks=files.blocks(cell),
            units=dict.fromkeys(study.methods[cell.method].units),
            seed=cell.draw,
        )
        for name in study_cells.measures_of(study, files.measures, cell):
            out = files.file(paths.results_of(cell))
            yield _measure(files, [name], {cell: ToMeasure(cell=cell, out=out, scored=scored)})


def _measure(files: Files, names: Iterable[str], cells: Mapping[Cell, ToMeasure]) -> MeasureCells:
    return MeasureCells(
        model=files.asset("models", next(iter(cells)).model),
        dtype=files.study.dtype,
        device_map=files.study.device_map,
        resources=files.resources,
        measures={name: files.study.measures[name] for name in names},
        cells=[*cells.values()],
        after=files.adopted(cells),
    )


def _to_measure(files: Files, names: Iterable[str], cell: Cell) -> ToMeasure:
    """Return a cell to measure, with the plans of resampled calibrations if a measure needs them."""
    on_plans = files.study.resamples and any(files.measures[name].resampled for name in names)
    # A bias is solved for the method's own plan, and weights are quantised after it.
    own = files.study.methods.get(cell.method, Method())
    unchanged = cell.recovery is Recovery.NONE and not (own.bias or own.quantised)
    resampled = None
    if on_plans and unchanged and cell.method in files.criteria:
        resampled = files.tensors(paths.PLAN, cell).with_suffix(paths.RESAMPLED)
    out = files.file(paths.results_of(cell))
    return ToMeasure(cell=cell, out=out, resampled=resampled, **files.measured(cell))
