"""From a study to its jobs."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from hfprune.assets.catalogue import Catalogue, LocalSource, alternatives
from hfprune.jobs.job import Job
from hfprune.measures import Measure, stems
from hfprune.recovery.settings import ADAPTER, ADAPTER_CONFIG, RECOVERED
from hfprune.results import DENSE, Cell, spell_cell
from hfprune.stages import adopt, budget, calibrate, dtype, fetch, measure, pack, plan, recover, score
from hfprune.study import layout
from hfprune.study.references import study_assets
from hfprune.study.study import Study, StudyMeasure
from hfprune.study.sweeps import criteria_of, sweeps

Made = Literal["plan", "checkpoint"]


@dataclass(frozen=True)
class Jobs:
    """The jobs of one study, from its assets to its measurements."""

    name: str
    study: Study
    catalogue: Catalogue
    baselines: Mapping[str, Made]
    """What the rule of each baseline writes."""
    cells_per_job: int = 1

    @cached_property
    def results(self) -> str:
        """Folder of the study's results."""
        return f"results/{self.name}"

    @cached_property
    def criteria(self) -> dict[str, Any]:
        """The criterion of every method that has one."""
        return criteria_of(self.study)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures by their names in the study."""
        return self.study.make_measures()

    def all(self) -> Iterator[Job]:
        """Yield every job in the order of the flow, but those of baselines and of the publication."""
        yield from map(self.fetch, study_assets(self.study))
        if self.study.dtype == "auto":
            yield self.dtype()
        for model in self.study.models:
            yield from (self.budget(model, ratio) for ratio in self.study.ratios_of(model))
            for corpus in dict.fromkeys(map(self.study.corpus_of, self.criteria)):
                yield from (self.calibrate(model, corpus, seed) for seed in self.study.seeds)
        yield from self.scores()
        for cell in self.pruned():
            yield from self.plans(cell)
        if any("lora" in self.study.recoveries_of(model) for model in self.study.models):
            yield from self.recoveries()
        yield from self.measurements()
        yield from self.measurements_of_scoring()

    # --- files ----------------------------------------------------------------------------------------------

    def file(self, pattern: str, cell: Cell | None = None, suffix: str = "", **at: Any) -> str:
        """Return a file of the study, by its pattern in `hfprune.study.layout`."""
        filled = layout.fill(pattern, cell) if cell else pattern.format(**at)
        return f"{self.results}/{filled}{suffix}"

    def blocks(self, model: str, method: str, seed: int) -> list[str]:
        """Return the calibration blocks of a method; criteria that read weights only have none."""
        if self.criteria[method].needs == "weights":
            return []
        at = {"model": model, "corpus": self.study.corpus_of(method), "seed": seed}
        return [self.file(layout.BLOCKS, suffix=".safetensors", **at)]

    def plan_files(self, cell: Cell) -> list[str]:
        """Return the plan of a cell, or a baseline's output and the proof of its adoption; none if dense."""
        if cell.method == DENSE:
            return []
        if cell.method in self.criteria:
            return [self.file(layout.PLAN, cell, ".safetensors")]
        return [self.baseline_output(cell), self.file(layout.PLAN, cell, ".json")]

    def baseline_output(self, cell: Cell) -> str:
        """Return the plan or the folder of the checkpoint that a baseline writes."""
        made = self.baselines[str(self.study.methods[cell.method].baseline)]
        if made == "checkpoint":
            return self.file(layout.CHECKPOINT, cell)
        return self.file(layout.PLAN, cell, ".safetensors")

    def _changed(self, cell: Cell) -> dict[str, str]:
        """Return the plan or checkpoint by its name in the settings of a stage."""
        files = self.plan_files(cell)
        kind = "plan" if files and files[0].endswith(".safetensors") else "checkpoint"
        return {kind: files[0]} if files else {}

    def _dense(self, model: str) -> dict[str, list[str]]:
        return {"model": [f"{_folder('models', model)}/asset.json"]}

    @cached_property
    def _dtype(self) -> dict[str, list[str]]:
        """The file that says the dtype, where the study has it measured."""
        return {"dtype": [f"{self.results}/{layout.DTYPE}"]} if self.study.dtype == "auto" else {}

    @cached_property
    def _compute(self) -> dict[str, Any]:
        """The settings of every stage with passes of a model."""
        chosen = {} if self.study.dtype == "auto" else {"dtype": self.study.dtype}
        return chosen | self.study.placement()

    # --- before scores --------------------------------------------------------------------------------------

    def fetch(self, asset: str) -> Job:
        """Return the job that fetches an asset, `kind/name`; an edited entry or local file fetches it again."""
        kind, _, name = asset.partition("/")
        entry = getattr(self.catalogue, kind)[name]
        sources = [one.path for one in alternatives(entry.source) if isinstance(one, LocalSource)]
        files = [file for path in sources for file in sorted(path.glob("*")) or [path] if file.exists()]
        return Job(
            "fetch",
            fetch.Config(assets=[asset]),
            {"local": [str(file) for file in files]},
            {"asset": [f"resources/{asset}/asset.json"]},
            {"kind": kind, "name": name},
            trigger=entry.model_dump_json(),
        )

    def dtype(self) -> Job:
        """Return the job that finds the faster dtype."""
        out = f"{self.results}/{layout.DTYPE}"
        return Job("dtype", dtype.Config(out=Path(out)), {}, {"dtype": [out]}, takes="machine")

    def budget(self, model: str, ratio: float) -> Job:
        """Return the job that checks whether all methods of a model reach a ratio."""
        methods = [
            method
            for name, method in self.study.methods.items()
            if name in self.study.methods_of(model) and name in self.criteria
            if ratio in (method.ratios or [ratio])
        ]
        units = sorted({json.dumps(method.units) for method in methods})
        floors = [method.allocation.floor for method in methods if method.allocation.rule != "uniform"]
        out = self.file(layout.BUDGET, suffix=".json", model=model, ratio=f"{ratio:g}")
        config = budget.Config(
            model=Path(_folder("models", model)),
            ratios=[ratio],
            units=[json.loads(kinds) for kinds in units] or [{"neurons": None}],
            floor=max(floors, default=None),
            out=Path(out),
        )
        at = {"model": model, "ratio": f"{ratio:g}"}
        return Job("budget", config, self._dense(model), {"budget": [out]}, at, model)

    def calibrate(self, model: str, corpus: str, seed: int) -> Job:
        """Return the job that draws the calibration blocks."""
        at = {"model": model, "corpus": corpus, "seed": f"{seed}"}
        out = self.file(layout.BLOCKS, suffix=".safetensors", **at)
        chosen = self.study.calibration.model_dump(include={"sequences", "length", "sampling"})
        folder = _folder("corpora", corpus)
        config = calibrate.Config(
            model=Path(_folder("models", model)), corpus=Path(folder), seed=seed, out=Path(out), **chosen
        )
        inputs = self._dense(model) | {"corpus": [f"{folder}/asset.json"]}
        return Job("calibrate", config, inputs, {"blocks": [out]}, at, model)

    # --- scores and plans -----------------------------------------------------------------------------------

    def scored(self, method: str) -> dict[str, Any]:
        """Return the settings of a method's scores besides the blocks; a raised version changes them."""
        criterion = self.criteria[method]
        return {
            "criterion": self.study.methods[method].criterion or method,
            "options": criterion.model_dump(mode="json"),
            "version": criterion.version,
        }

    def method_settings(self, method: str) -> str:
        """Return all that decides about a method's scores, as JSON.

        The workflow keeps it in a file: behind an ancient input, Snakemake notices changed files only.
        """
        chosen = self.study.methods[method]
        about = {"units": [*chosen.units], "sequences": chosen.sequences, **self._scoring, **self._compute}
        return json.dumps(self.scored(method) | about, sort_keys=True)

    @cached_property
    def _scoring(self) -> dict[str, Any]:
        return self.study.calibration.model_dump(include={"until_agreement", "resamples"})

    def scores(self) -> Iterator[Job]:
        """Yield the sweeps: the first of all methods that share passes, and those of later steps."""
        for number, (methods, models) in enumerate(sweeps(self.study, self.criteria)):
            for model in models:
                yield from (self._sweep(number, methods, model, seed) for seed in self.study.seeds)
        for cell in self.pruned():
            if cell.method in self.criteria:
                for step in range(2, self.study.methods[cell.method].steps + 1):
                    yield self._score_step(cell, step)

    def _sweep(self, number: int, methods: list[str], model: str, seed: int) -> Job:
        out = self.file(layout.SCORES, suffix=".safetensors", model=model, method="{method}", seed=seed)
        config = self._score_config(methods, model, seed, out, f"{self.name}/{model}/{{method}}//{seed}/none")
        # A ratio that cannot be reached fails before hours of scoring. With a new ratio, the job finds its scores.
        inputs = self._dense(model) | self._dtype
        inputs |= {
            "budget": [
                self.file(layout.BUDGET, suffix=".json", model=model, ratio=f"{ratio:g}")
                for ratio in self.study.ratios_of(model)
            ],
            "blocks": self.blocks(model, methods[0], seed),
            "methods": [self.file(layout.METHOD, suffix=".json", method=method) for method in methods],
        }
        stem = out.removesuffix(".safetensors")
        return Job(
            f"score_{number}",
            config,
            inputs,
            self._scored_files([stem.format(method=method) for method in methods]),
            {"model": model, "seed": f"{seed}"},
            model,
            tuple(Cell(self.name, model, method, None, seed, "none") for method in methods),
            takes="machine",
        )

    def _scored_files(self, stems: list[str]) -> dict[str, list[str]]:
        resampled = (
            [f"{stem}{layout.RESAMPLED}" for stem in stems] if self.study.calibration.resamples else []
        )
        return {
            "scores": [f"{stem}.safetensors" for stem in stems],
            "about": [f"{stem}.json" for stem in stems],
            "resampled": resampled,
        }

    def _score_config(self, methods: list[str], model: str, seed: int, out: str, cell: str) -> score.Config:
        chosen, blocks = self.study.methods[methods[0]], self.blocks(model, methods[0], seed)
        return score.Config(
            model=Path(_folder("models", model)),
            blocks=Path(blocks[0]) if blocks else None,
            methods={method: self.scored(method) for method in methods},
            units=dict.fromkeys(chosen.units),
            sequences=chosen.sequences,
            seed=seed,
            cell=cell,
            out=Path(out),
            **self._scoring,
            **self._compute,
        )

    def _score_step(self, cell: Cell, step: int) -> Job:
        """Return the job that scores what the plan of the step before has left."""
        out = self.file(layout.STEP_SCORES, cell, step=step)
        before = self.file(layout.STEP_PLAN, cell, ".safetensors", step=step - 1)
        whole = replace(cell, recovery="none")
        config = self._score_config(
            [cell.method], cell.model, cell.seed, f"{out}.safetensors", spell_cell(whole)
        )
        inputs = self._dense(cell.model) | self._dtype | self._of_method(cell) | {"plan": [before]}
        return Job(
            "score_step",
            config.model_copy(update={"plan": Path(before)}),
            inputs,
            self._scored_files([out]),
            _at(cell, step=f"{step}"),
            cell.model,
            (cell,),
            takes="machine",
        )

    def _of_method(self, cell: Cell) -> dict[str, list[str]]:
        method = [self.file(layout.METHOD, suffix=".json", method=cell.method)]
        return {"method": method, "blocks": self.blocks(cell.model, cell.method, cell.seed)}

    def pruned(self) -> list[Cell]:
        """Return the pruned cells, each once, without its recovery."""
        found = layout.cells(self.name, self.study)
        return [*dict.fromkeys(replace(cell, recovery="none") for cell in found if cell.method != DENSE)]

    def plans(self, cell: Cell) -> Iterator[Job]:
        """Yield the jobs that cut the plan of a cell, in all its steps, or that adopt a baseline's."""
        if cell.method not in self.criteria:
            yield self._adopt(cell)
            return
        steps = self.study.methods[cell.method].steps
        yield from (self._plan(cell, step, steps) for step in range(1, steps + 1))

    def _plan(self, cell: Cell, step: int, steps: int) -> Job:
        last, method = step == steps, self.study.methods[cell.method]
        scores = (
            self.file(layout.SCORES, cell) if step == 1 else self.file(layout.STEP_SCORES, cell, step=step)
        )
        out = self.file(layout.PLAN, cell) if last else self.file(layout.STEP_PLAN, cell, step=step)
        resampled = [f"{scores}{layout.RESAMPLED}"] * bool(last and self.study.calibration.resamples)
        config = plan.Config(
            model=Path(_folder("models", cell.model)),
            scores=Path(f"{scores}.safetensors"),
            resampled=Path(resampled[0]) if resampled else None,
            ratio=cell.ratio,
            part=float(f"{step / steps:.6g}"),
            units=method.units,
            allocation=method.allocation,
            cell=spell_cell(cell),
            out=Path(f"{out}.safetensors"),
        )
        inputs = self._dense(cell.model) | self._of_method(cell)
        inputs |= {"scores": [f"{scores}.safetensors"], "resampled": resampled}
        outputs = {"plan": [f"{out}.safetensors"], "size": [f"{out}.json"]}
        outputs |= {"resampled": [f"{out}{layout.RESAMPLED}"]} if resampled else {}
        rule, at = ("plan", _at(cell)) if last else ("plan_step", _at(cell, step=f"{step}"))
        # The sweep may only score other methods again; that the own scores are new, the method's file says.
        old = ("scores", "resampled") if step == 1 else ("resampled",)
        return Job(rule, config, inputs, outputs, at, cell.model, (cell,), ancient=old)

    def _adopt(self, cell: Cell) -> Job:
        out = self.file(layout.PLAN, cell, ".json")
        config = adopt.Config(
            model=Path(_folder("models", cell.model)),
            ratio=cell.ratio,
            cell=spell_cell(cell),
            out=Path(out),
            **self._changed(cell),
        )
        inputs = self._dense(cell.model) | {"pruned": [self.baseline_output(cell)]}
        return Job("adopt", config, inputs, {"size": [out]}, _at(cell), cell.model, (cell,), takes="device")

    # --- recovery -------------------------------------------------------------------------------------------

    def recoveries(self) -> Iterator[Job]:
        """Yield the jobs that pack the instruction pairs, and those that train adapters."""
        for model in self.study.models:
            if "lora" in self.study.recoveries_of(model):
                yield from (self._pack(model, seed) for seed in self.study.seeds)
        for cell in layout.cells(self.name, self.study):
            if cell.recovery == "lora":
                yield self._recover(cell)

    def _pack(self, model: str, seed: int) -> Job:
        settings, at = self.study.recovery, {"model": model, "seed": f"{seed}"}
        assert settings is not None  # a study with `lora` has the section
        out, folder = (
            self.file(layout.PAIRS, suffix=".safetensors", **at),
            _folder("instructions", settings.instructions),
        )
        config = pack.Config(
            model=Path(_folder("models", model)),
            instructions=Path(folder),
            seed=seed,
            out=Path(out),
            **settings.pairs().model_dump(),
        )
        inputs = self._dense(model) | {"instructions": [f"{folder}/asset.json"]}
        return Job("pack", config, inputs, {"pairs": [out]}, at, model)

    def _recover(self, cell: Cell) -> Job:
        settings, folder = self.study.recovery, self.file(layout.RECOVERY, cell)
        assert settings is not None
        packed = self.file(layout.PAIRS, cell, ".safetensors")
        config = recover.Config(
            model=Path(_folder("models", cell.model)),
            packed=Path(packed),
            options=settings.lora().model_dump(mode="json"),
            batch_tokens=settings.batch_tokens,
            seed=cell.seed,
            cell=spell_cell(cell),
            out=Path(folder),
            **self._changed(cell),
            **self._compute,
        )
        inputs = self._dense(cell.model) | self._dtype | {"plan": self.plan_files(cell), "packed": [packed]}
        files = (ADAPTER, ADAPTER_CONFIG, RECOVERED)
        outputs = {"adapter": [f"{folder}/{name}" for name in files]}
        return Job(
            "recover",
            config,
            inputs,
            outputs,
            _at(cell, recovery=cell.recovery),
            cell.model,
            (cell,),
            "device",
            settings.gpus,
        )

    # --- measurements ---------------------------------------------------------------------------------------

    def measurements(self) -> Iterator[Job]:
        """Yield the jobs that measure cells: all that is measured of a cell, or of several cells of a model."""
        for number, (names, cells) in enumerate(self.batches()):
            yield self._measure(names, cells, number)

    def batches(self) -> Iterator[tuple[tuple[str, ...], list[Cell]]]:
        """Yield the measures and the cells of each job."""
        for names, cells in layout.together(self.name, self.study, self.measures).items():
            for batch in layout.batches(cells, self.study, self.cells_per_job):
                yield names, batch

    def _measure(self, names: tuple[str, ...], cells: list[Cell], number: int) -> Job:
        measures, model = {name: self.measures[name] for name in names}, cells[0].model
        config = measure.Config(
            model=Path(_folder("models", model)),
            measures={name: self._asked(name) for name in names},
            cells=[self._to_measure(names, cell) for cell in cells],
            **self._compute_of(measures.values()),
        )
        waits = [file for cell in cells for file in self._measured_files(names, cell)]
        several = self.cells_per_job > 1
        return Job(
            layout.measuring(names) + (f"_{number}" if several else ""),
            config,
            self._dense(model) | self._read(measures.values()) | {"cells": waits},
            {
                "results": [
                    file
                    for cell in cells
                    for file in self.result_files(names, layout.fill(layout.CELL, cell))
                ]
            },
            {} if several else _at(cells[0], recovery=cells[0].recovery),
            model,
            tuple(cells),
            "machine" if any(one.exclusive for one in measures.values()) else "device",
            trigger=[one.version for one in measures.values()],
        )

    def measurements_of_scoring(self) -> Iterator[Job]:
        """Yield the jobs that measure the scoring by each method itself, under the first seed."""
        for name, one in self.measures.items():
            if one.needs == "criterion":
                for model in self.study.models:
                    for method in self.study.methods_of(model):
                        if method in self.criteria and self.study.measures[name].covers(method):
                            yield self._measure_scoring(name, model, method)

    def _measure_scoring(self, name: str, model: str, method: str) -> Job:
        one, seed = self.measures[name], self.study.seeds[0]
        cell, blocks = Cell(self.name, model, method, None, seed, "none"), self.blocks(model, method, seed)
        folder, about = layout.fill(layout.SCORING, cell), self.scored(method)
        to_measure = measure.ToMeasure(
            cell=spell_cell(cell),
            out=Path(f"{self.results}/{folder}"),
            scored=measure.Scored(
                blocks=Path(blocks[0]) if blocks else None,
                units=dict.fromkeys(self.study.methods[method].units),
                seed=seed,
                criterion=about["criterion"],
                options=about["options"],
            ),
        )
        config = measure.Config(
            model=Path(_folder("models", model)),
            measures={name: self._asked(name)},
            cells=[to_measure],
            **self._compute_of([one]),
        )
        return Job(
            layout.measuring([name]),
            config,
            self._dense(model) | self._read([one]) | {"blocks": blocks},
            {"results": self.result_files([name], folder)},
            {"model": model, "method": method, "seed": f"{seed}"},
            model,
            (cell,),
            "machine" if one.exclusive else "device",
            trigger=[one.version, about["version"]],
        )

    def result_files(self, names: Iterable[str], folder: str) -> list[str]:
        """Return the results of measures in the folder of a cell."""
        found = [stem for name in names for stem in stems(name, self.measures[name])]
        return [
            f"{self.results}/{folder}/{stem}.{suffix}" for stem in found for suffix in ("json", "parquet")
        ]

    def measured(self, job: Job) -> list[str]:
        """Return the outputs of the rule of a measurement, with its wildcards."""
        if not job.at:
            return job.outputs["results"]
        folder = layout.CELL if "recovery" in job.at else layout.SCORING
        return self.result_files(cast(measure.Config, job.config).measures, folder)

    def matching(self, jobs: Iterable[Job]) -> str:
        """Return a constraint of the first wildcard of the results: the folders of these jobs' cells only."""
        cells = [cell for job in jobs for cell in job.cells]
        folders = [layout.fill(layout.SCORING if cell.ratio is None else layout.CELL, cell) for cell in cells]
        known = "|".join(re.escape(folder.removeprefix("cells/")) for folder in folders)
        return f"(?=(?:{known})/)[^/]+"

    def _asked(self, name: str) -> StudyMeasure:
        entry = self.study.measures[name]
        return StudyMeasure(measure=entry.measure or name, settings=entry.settings)

    def _to_measure(self, names: tuple[str, ...], cell: Cell) -> measure.ToMeasure:
        files: dict[str, Any] = dict(self._changed(cell))
        if cell.recovery != "none":
            files["adapter"] = self.file(layout.RECOVERY, cell)
        if resampled := self._resampled(names, cell):
            files["resampled"] = resampled[0]
        out = f"{self.results}/{layout.fill(layout.CELL, cell)}"
        return measure.ToMeasure(cell=spell_cell(cell), out=Path(out), **files)

    def _measured_files(self, names: tuple[str, ...], cell: Cell) -> list[str]:
        adapter = [f"{self.file(layout.RECOVERY, cell)}/{ADAPTER}"] * (cell.recovery != "none")
        return [*self.plan_files(cell), *adapter, *self._resampled(names, cell)]

    def _resampled(self, names: tuple[str, ...], cell: Cell) -> list[str]:
        """Return the plans of resampled calibrations, if a measure is taken on them."""
        taken = any(self.measures[name].resampled for name in names) and self.study.calibration.resamples
        if not taken or cell.recovery != "none" or cell.method not in self.criteria:
            return []
        return [self.file(layout.PLAN, cell, layout.RESAMPLED)]

    def _compute_of(self, measures: Iterable[Measure]) -> dict[str, Any]:
        own = next((one.dtype for one in measures if one.dtype), None)
        return self._compute | ({"dtype": own} if own else {})

    def _read(self, measures: Iterable[Measure]) -> dict[str, list[str]]:
        """Return what measures read, and the file of the dtype unless one has its own."""
        taken = [*measures]
        assets = sorted({asset for one in taken for asset in one.assets()})
        found = {
            "assets": [f"resources/{asset}/asset.json" for asset in assets],
            "files": sorted({str(path) for one in taken for path in one.files()}),
        }
        return found if any(one.dtype for one in taken) else found | self._dtype


def _folder(kind: str, name: str) -> str:
    return f"resources/{kind}/{name}"


def _at(cell: Cell, **more: str) -> dict[str, str]:
    """Return the wildcards of a cell, as far as its rule has them."""
    whole = {"model": cell.model, "method": cell.method, "ratio": f"{cell.ratio:g}", "seed": f"{cell.seed}"}
    return whole | more
