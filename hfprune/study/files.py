"""A study, the paths of its files, and the methods that are scored together."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

from hfprune.assets.catalogue import Catalogue
from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.criteria import Criterion, make_criterion
from hfprune.errors import HfpruneError
from hfprune.measurement import Measure
from hfprune.study import cells as study_cells
from hfprune.study import paths
from hfprune.study.method import Bits, Method
from hfprune.study.references import load_study
from hfprune.study.study import Study

BaselineOutput = Literal["plan", "checkpoint"]


class Cut(TypedDict, total=False):
    """The files of a model's pruning before a recovery, by their names in the settings of a stage."""

    plan: Path
    checkpoint: Path


class Changes(Cut, total=False):
    """All files that turn the dense model into a cell's model, by their names in the settings of a stage."""

    linear: Path | None
    adapter: Path | None


class MeasuredChanges(Changes, total=False):
    """As `Changes`, with the settings that only measurements take."""

    instead: Path | None
    quantised: Bits | None


@dataclass(frozen=True)
class Files:
    """A study and the paths of its files, which need not exist."""

    name: str
    study: Study
    catalogue: Catalogue
    baselines: Mapping[str, BaselineOutput]
    """What the rule of each baseline writes."""
    cells_per_job: int = 1
    """Most cells of a model that one job measures."""
    results: Path = Path()
    """Folder of the study's results; by default below `results`."""
    resources: Path = Path("resources")
    """Folder of the fetched assets."""
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    """`kind/name` → folder, for assets outside `resources`."""

    @cached_property
    def criteria(self) -> dict[str, Criterion]:
        """`criteria_of` the study."""
        return criteria_of(self.study)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures with their settings, by their names in the study."""
        return self.study.make_measures()

    def file(self, pattern: str, cell: Cell | None = None, **at: Any) -> Path:
        """Return a file of the study, by its pattern in `hfprune.study.paths`."""
        filled = paths.fill(pattern, cell, **at) if cell else pattern.format(**at)
        return (self.results if self.results.name else Path("results", self.name)) / filled

    def tensors(self, pattern: str, cell: Cell | None = None, **at: Any) -> Path:
        """Return a file of the study that holds tensors: blocks, scores, plans."""
        return self.file(f"{pattern}.safetensors", cell, **at)

    def record(self, pattern: str, cell: Cell | None = None, **at: Any) -> Path:
        """Return a file of the study that holds JSON."""
        return self.file(f"{pattern}.json", cell, **at)

    def asset(self, kind: str, name: str) -> Path:
        """Return the folder of an asset: that in `elsewhere`, or else the one below `resources`."""
        return self.elsewhere.get(f"{kind}/{name}", self.resources / kind / name)

    def blocks(self, cell: Cell) -> Path | None:
        """Return the calibration blocks of a cell's method; None for criteria that read weights only."""
        if self.criteria[cell.method].needs == "weights":
            return None
        return self.drawn(cell)

    def drawn(self, cell: Cell) -> Path:
        """Return the calibration blocks to which a cell's sample belongs."""
        draw = self.study.blocks_draw(cell.draw)
        return self.tensors(paths.BLOCKS, model=cell.model, calibration=cell.calibration, draw=draw)

    def changed(self, cell: Cell) -> Cut:
        """Return the files of a cell's pruning before a recovery."""
        if cell.method == DENSE:
            return {}
        method = self.study.methods[cell.method]
        if method.model:
            return {}
        if method.baseline and self.baselines[method.baseline] == "checkpoint":
            return {"checkpoint": self.file(paths.CHECKPOINT, cell)}
        return {"plan": self.tensors(paths.PLAN, cell)}

    def adopted(self, cells: Iterable[Cell]) -> list[Path]:
        """Return the records that outputs of baselines have been checked."""
        methods = self.study.methods
        baselines = [cell for cell in cells if cell.method != DENSE and methods[cell.method].baseline]
        return [self.record(paths.PLAN, cell) for cell in baselines]

    def solved(self, cell: Cell) -> Path | None:
        """Return the folder of the weights solved for a cell, if its method or recovery asks for any."""
        solution = study_cells.solution(self.study, cell)
        if solution is Recovery.NONE:
            return None
        return self.file(paths.RECOVERY, replace(cell, recovery=solution))

    def changes(self, cell: Cell) -> Changes:
        """Return all files that turn the dense model into a cell's model."""
        adapter = self.file(paths.RECOVERY, cell) if cell.recovery.trains else None
        return {**self.changed(cell), "linear": self.solved(cell), "adapter": adapter}

    def measured(self, cell: Cell) -> MeasuredChanges:
        """Return all that makes the measured model: another model or the cell's changes, and the bits."""
        method = self.study.methods.get(cell.method, Method())
        instead = None
        if method.model and method.model != DENSE:
            instead = self.asset("models", method.model)
        return {**self.changes(cell), "instead": instead, "quantised": method.quantised}

    def pruned(self) -> list[Cell]:
        """Return the distinct pruned cells without their recoveries."""
        cells = study_cells.cells(self.name, self.study)
        pruned = (replace(cell, recovery=Recovery.NONE) for cell in cells if cell.method != DENSE)
        return list(dict.fromkeys(pruned))


def load_files(path: Path, catalogue: Catalogue) -> Files:
    """Return the study of a file, as if every baseline wrote a plan, since only the workflow's rules know."""
    study, catalogue = load_study(path, catalogue)
    baselines = [method.baseline for method in study.methods.values() if method.baseline]
    return Files(path.stem, study, catalogue, dict.fromkeys(baselines, "plan"))


def criteria_of(study: Study) -> dict[str, Criterion]:
    """Return the criterion of every scored method, with its options, by the method's name.

    Raises:
        HfpruneError: a criterion or option is unknown, or a criterion cannot score by sizes as asked.
    """
    criteria = {}
    for name, method in study.methods.items():
        if method.unscored:
            continue
        place, chosen = f"study: methods.{name}", method.criterion or name
        criteria[name] = make_criterion(chosen, method.options, place, [*method.units])
        for calibration, read in study.calibrations.items():
            several = any(count > 1 for count in (len(read.sizes), *read.sizes.values()))
            if criteria[name].needs == "model" and several:
                raise HfpruneError(
                    f"{place}: {chosen} searches anew for each sample; give calibrations.{calibration} one size "
                    "with one sample, or none"
                )
    return criteria


def method_settings(files: Files, method: str) -> str:
    """Return all settings that determine a method's scores, as JSON.

    The workflow keeps them in a file, since behind an ancient input Snakemake notices changed files only.
    """
    study, criterion = files.study, files.criteria[method]
    about: dict[str, object] = {
        "criterion": study.methods[method].criterion or method,
        "version": criterion.version,
        "options": criterion.model_dump(mode="json"),
        "units": [*study.methods[method].units],
        "dtype": study.dtype,
        "device_map": study.device_map,
        "resamples": study.resamples,
    }
    if study.resamples and study.reads(method):
        # The sizes that are not resampled. All other settings of a calibration are in its blocks and in file
        # names, so that another calibration or size leaves existing scores as they are.
        about["not_resampled"] = [
            [model, *calibrated]
            for model in study.models
            if method in study.methods_of(model)
            for calibrated in study.calibrated(model, method)
            if not study.resamples_of(calibrated)
        ]
    return json.dumps(about, sort_keys=True)


def sweeps(study: Study, criteria: Mapping[str, Criterion]) -> list[tuple[list[str], list[str]]]:
    """Return groups of methods that are scored together, since they read blocks in the same way, and their models.

    One pass serves all sizes of a calibration.
    """
    models_of: dict[tuple[str, ...], list[str]] = {}
    for model in study.models:
        groups: dict[tuple, list[str]] = {}
        for name in study.methods_of(model):
            if name not in criteria:  # a baseline
                continue
            units = json.dumps([*study.methods[name].units])
            groups.setdefault((criteria[name].needs, units), []).append(name)
        for methods in groups.values():
            models_of.setdefault(tuple(methods), []).append(model)
    return [([*methods], models) for methods, models in models_of.items()]
