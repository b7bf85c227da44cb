"""The files of a study's jobs, and what several stages need to know of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hfprune.assets.catalogue import Catalogue
from hfprune.measures import Measure, stems
from hfprune.results import DENSE, Cell
from hfprune.study import layout
from hfprune.study.references import load_study
from hfprune.study.study import Study
from hfprune.study.sweeps import criteria_of

Made = Literal["plan", "checkpoint"]


@dataclass(frozen=True)
class Files:
    """A study, and where its files lie."""

    name: str
    study: Study
    catalogue: Catalogue
    baselines: Mapping[str, Made]
    """What the rule of each baseline writes."""
    cells_per_job: int = 1
    """The most cells of a model that one job measures."""

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

    def file(self, pattern: str, cell: Cell | None = None, suffix: str = "", **at: Any) -> str:
        """Return a file of the study, by its pattern in `hfprune.study.layout`."""
        filled = layout.fill(pattern, cell, **at) if cell else pattern.format(**at)
        return f"{self.results}/{filled}{suffix}"

    def blocks(self, model: str, method: str, seed: int) -> list[str]:
        """Return the calibration blocks of a method; criteria that read weights only have none."""
        if self.criteria[method].needs == "weights":
            return []
        at: dict[str, Any] = {"model": model, "corpus": self.study.corpus_of(method), "seed": seed}
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

    def changed(self, cell: Cell) -> dict[str, Any]:
        """Return the plan or checkpoint by its name in the settings of a stage."""
        files = self.plan_files(cell)
        kind = "plan" if files and files[0].endswith(".safetensors") else "checkpoint"
        return {kind: Path(files[0])} if files else {}

    def dense(self, model: str) -> dict[str, list[str]]:
        """Return the dense model as an input of a job."""
        return {"model": [f"{folder('models', model)}/asset.json"]}

    @cached_property
    def dtype_file(self) -> dict[str, list[str]]:
        """The file that says the dtype, where the study has it measured."""
        return {"dtype": [f"{self.results}/{layout.DTYPE}"]} if self.study.dtype == "auto" else {}

    @cached_property
    def compute(self) -> dict[str, Any]:
        """The settings of every stage with passes of a model."""
        chosen = {} if self.study.dtype == "auto" else {"dtype": self.study.dtype}
        return chosen | ({"device_map": "auto"} if self.study.device_map else {})

    def result_files(self, names: Iterable[str], folder: str) -> list[str]:
        """Return the results of measures in the folder of a cell."""
        found = [stem for name in names for stem in stems(name, self.measures[name])]
        return [
            f"{self.results}/{folder}/{stem}.{suffix}" for stem in found for suffix in ("json", "parquet")
        ]


def load_files(path: Path, catalogue: Catalogue) -> Files:
    """Return the study of a file, as if every baseline wrote a plan: only the workflow's rules know better."""
    study, catalogue = load_study(path, catalogue)
    baselines = [method.baseline for method in study.methods.values() if method.baseline]
    return Files(path.stem, study, catalogue, dict.fromkeys(baselines, "plan"))


def folder(kind: str, name: str) -> str:
    """Return the folder of an asset."""
    return f"resources/{kind}/{name}"
