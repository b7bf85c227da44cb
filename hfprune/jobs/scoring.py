"""The jobs from assets to plans."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfprune.assets.catalogue import LocalSource, alternatives
from hfprune.jobs.files import Files, folder
from hfprune.jobs.job import Job, wildcards
from hfprune.results import DENSE, Cell, spell_cell
from hfprune.stages import adopt, budget, calibrate, dtype, fetch, plan, score
from hfprune.study import layout
from hfprune.study.sweeps import sweeps


def fetch_job(files: Files, asset: str) -> Job:
    """Return the job that fetches an asset, `kind/name`; an edited entry or local file fetches it again."""
    kind, _, name = asset.partition("/")
    entry = getattr(files.catalogue, kind)[name]
    own = files.study.models[name].source if kind == "models" else None
    sources = [one.path for one in alternatives(entry.source) if isinstance(one, LocalSource)]
    local = [file for path in sources for file in sorted(path.glob("*")) or [path] if file.exists()]
    return Job(
        "fetch",
        fetch.Config(assets=[asset], models={name: own} if own else {}),
        {"local": [str(file) for file in local]},
        {"asset": [f"resources/{asset}/asset.json"]},
        {"kind": kind, "name": name},
        trigger=entry.model_dump_json(),
    )


def dtype_job(files: Files) -> Job:
    """Return the job that finds the faster dtype."""
    out = f"{files.results}/{layout.DTYPE}"
    return Job("dtype", dtype.Config(out=Path(out)), {}, {"dtype": [out]}, takes="machine", timed=True)


def budget_job(files: Files, model: str, ratio: float) -> Job:
    """Return the job that checks whether all methods of a model reach a ratio."""
    methods = [
        method
        for name, method in files.study.methods.items()
        if name in files.study.methods_of(model) and name in files.criteria
        if ratio in (method.ratios or [ratio])
    ]
    units = sorted({(json.dumps(method.units), sum(method.allocation.spare)) for method in methods})
    ruled = [method.allocation for method in methods if method.allocation.rule == "global"]
    out = files.file(layout.BUDGET, suffix=".json", model=model, ratio=f"{ratio:g}")
    config = budget.Config(
        model=Path(folder("models", model)),
        ratios=[ratio],
        units=[json.loads(kinds) for kinds, _ in units] or [{"neurons": None}],
        spare=[spared for _, spared in units] if any(spared for _, spared in units) else [],
        floor=max((allocation.floor for allocation in ruled), default=None),
        out=Path(out),
    )
    at = {"model": model, "ratio": f"{ratio:g}"}
    return Job("budget", config, files.dense(model), {"budget": [out]}, at, model)


def calibrate_job(files: Files, model: str, corpus: str, seed: int) -> Job:
    """Return the job that draws the calibration blocks."""
    at: dict[str, Any] = {"model": model, "corpus": corpus, "seed": f"{seed}"}
    out = files.file(layout.BLOCKS, suffix=".safetensors", **at)
    chosen = files.study.calibration.model_dump(include={"sequences", "length", "sampling"})
    read = folder("corpora", corpus)
    config = calibrate.Config(
        model=Path(folder("models", model)), corpus=Path(read), seed=seed, out=Path(out), **chosen
    )
    inputs = files.dense(model) | {"corpus": [f"{read}/asset.json"]}
    return Job("calibrate", config, inputs, {"blocks": [out]}, at, model)


def scored(files: Files, method: str) -> dict[str, Any]:
    """Return the settings of a method's scores besides the blocks; a raised version changes them."""
    criterion = files.criteria[method]
    return {
        "criterion": files.study.methods[method].criterion or method,
        "options": criterion.model_dump(mode="json"),
        "version": criterion.version,
    }


def method_settings(files: Files, method: str) -> str:
    """Return all that decides about a method's scores, as JSON.

    The workflow keeps it in a file: behind an ancient input, Snakemake notices changed files only.
    """
    chosen = files.study.methods[method]
    about = {"units": [*chosen.units], "sequences": chosen.sequences, **files.compute}
    about["resamples"] = files.study.calibration.resamples
    about = json.loads(json.dumps(about))  # with keys of one type, which can be sorted
    return json.dumps(scored(files, method) | about, sort_keys=True)


def scores(files: Files) -> Iterator[Job]:
    """Yield the sweeps: the first of all methods that share passes, and those of later steps."""
    for number, (methods, models) in enumerate(sweeps(files.study, files.criteria)):
        for model in models:
            yield from (_sweep(files, number, methods, model, seed) for seed in files.study.seeds)
    for cell in pruned(files):
        if cell.method in files.criteria:
            for step in range(2, files.study.methods[cell.method].steps + 1):
                yield _score_step(files, cell, step)


def _sweep(files: Files, number: int, methods: list[str], model: str, seed: int) -> Job:
    several = Cell(files.name, model, "{method}", None, seed, "none")
    # A ratio that cannot be reached fails before hours of scoring. With a new ratio, the job finds its scores.
    inputs = {
        "budget": [
            files.file(layout.BUDGET, suffix=".json", model=model, ratio=f"{ratio:g}")
            for ratio in files.study.ratios_of(model)
        ],
        "methods": [files.file(layout.METHOD, suffix=".json", method=method) for method in methods],
    }
    at = {"model": model, "seed": f"{seed}"}
    return _score(files, f"score_{number}", several, methods, files.file(layout.SCORES, several), inputs, at)


def _score_step(files: Files, cell: Cell, step: int) -> Job:
    """Return the job that scores what the plan of the step before has left."""
    out = files.file(layout.STEP_SCORES, cell, step=step)
    before = files.file(layout.STEP_PLAN, cell, ".safetensors", step=step - 1)
    inputs = {"method": [files.file(layout.METHOD, suffix=".json", method=cell.method)], "plan": [before]}
    at = wildcards(cell, step=f"{step}")
    return _score(files, "score_step", cell, [cell.method], out, inputs, at, Path(before))


def _score(
    files: Files,
    rule: str,
    cell: Cell,
    methods: list[str],
    out: str,
    inputs: dict[str, list[str]],
    at: dict[str, str],
    before: Path | None = None,
) -> Job:
    """Return the job that scores by these methods, with {method} in `cell` and in the stem `out` if it is a sweep.

    `inputs` are those besides model and blocks, and `before` is the plan of the step before, if there is one.
    """
    chosen, blocks = files.study.methods[methods[0]], files.blocks(cell.model, methods[0], cell.seed)
    config = score.Config(
        model=Path(folder("models", cell.model)),
        blocks=Path(blocks[0]) if blocks else None,
        plan=before,
        methods={method: scored(files, method) for method in methods},
        units=dict.fromkeys(chosen.units),
        sequences=chosen.sequences,
        seed=cell.seed,
        cell=spell_cell(cell),
        out=Path(f"{out}.safetensors"),
        resamples=files.study.calibration.resamples,
        **files.compute,
    )
    stems = [out.format(method=method) for method in methods]
    outputs = {
        "scores": [f"{stem}.safetensors" for stem in stems],
        "about": [f"{stem}.json" for stem in stems],
        "resampled": [f"{stem}{layout.RESAMPLED}" for stem in stems]
        * bool(files.study.calibration.resamples),
    }
    inputs = files.dense(cell.model) | files.dtype_file | inputs | {"blocks": blocks}
    cells = tuple(replace(cell, method=method) for method in methods)
    return Job(rule, config, inputs, outputs, at, cell.model, cells, takes="machine")


def pruned(files: Files) -> list[Cell]:
    """Return the pruned cells, each once, without its recovery."""
    found = layout.cells(files.name, files.study)
    return [*dict.fromkeys(replace(cell, recovery="none") for cell in found if cell.method != DENSE)]


def plans(files: Files, cell: Cell) -> Iterator[Job]:
    """Yield the jobs that cut the plan of a cell, in all its steps, or that adopt a baseline's."""
    if cell.method not in files.criteria:
        yield _adopt(files, cell)
        return
    steps = files.study.methods[cell.method].steps
    yield from (_plan(files, cell, step, steps) for step in range(1, steps + 1))


def _plan(files: Files, cell: Cell, step: int, steps: int) -> Job:
    assert cell.ratio is not None  # a plan has one
    last, method = step == steps, files.study.methods[cell.method]
    scores = files.file(layout.SCORES, cell) if step == 1 else files.file(layout.STEP_SCORES, cell, step=step)
    out = files.file(layout.PLAN, cell) if last else files.file(layout.STEP_PLAN, cell, step=step)
    resampled = [f"{scores}{layout.RESAMPLED}"] * bool(last and files.study.calibration.resamples)
    config = plan.Config(
        model=Path(folder("models", cell.model)),
        scores=Path(f"{scores}.safetensors"),
        resampled=Path(resampled[0]) if resampled else None,
        ratio=cell.ratio,
        part=float(f"{step / steps:.6g}"),
        units=method.units,
        allocation=method.allocation,
        cell=spell_cell(cell),
        out=Path(f"{out}.safetensors"),
    )
    inputs = files.dense(cell.model) | files.dtype_file
    inputs |= {
        "method": [files.file(layout.METHOD, suffix=".json", method=cell.method)],
        "blocks": files.blocks(cell.model, cell.method, cell.seed),
        "scores": [f"{scores}.safetensors"],
        "resampled": resampled,
    }
    outputs = {"plan": [f"{out}.safetensors"], "size": [f"{out}.json"]}
    outputs |= {"resampled": [f"{out}{layout.RESAMPLED}"]} if resampled else {}
    rule, at = ("plan", wildcards(cell)) if last else ("plan_step", wildcards(cell, step=f"{step}"))
    # The sweep may only score other methods again; that the own scores are new, the method's file says.
    old = ("scores", "resampled") if step == 1 else ("resampled",)
    return Job(rule, config, inputs, outputs, at, cell.model, (cell,), ancient=old)


def _adopt(files: Files, cell: Cell) -> Job:
    assert cell.ratio is not None  # a baseline prunes
    out = files.file(layout.PLAN, cell, ".json")
    config = adopt.Config(
        model=Path(folder("models", cell.model)),
        ratio=cell.ratio,
        cell=spell_cell(cell),
        out=Path(out),
        **files.changed(cell),
    )
    inputs = files.dense(cell.model) | {"pruned": [files.baseline_output(cell)]}
    return Job("adopt", config, inputs, {"size": [out]}, wildcards(cell), cell.model, (cell,), takes="device")
