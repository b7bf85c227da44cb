"""Measure models that come from one dense model, pruned or recovered, or scoring by a criterion.

A job of the workflow has any number of measures and cells; they share one process, with one model in memory at a
time. By hand, `hfprune measure MEASURE` takes one measure of one model.
"""

from collections.abc import Container
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr, model_validator

from hfprune.cells import read_result, values_table
from hfprune.criteria import Criterion, make_criterion
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject, ToScore
from hfprune.files import require_writable
from hfprune.measurement import Measure, NamedMeasure, stems, waiting_folder
from hfprune.settings import Dtype, Name, Placement
from hfprune.stages import AssetFlag, Stage
from hfprune.stages.fields import CellName, Computing, DenseModel, ExistingPath, Resources
from hfprune.stages.scoring_flags import Scoring
from hfprune.stages.target import AdapterFolder, Change, Pruned, cell_of
from hfprune.study.method import Bits

if TYPE_CHECKING:
    from hfprune.evaluation.measuring import CellToMeasure


class ScoredBy(Scoring):
    """A criterion and its blocks, for measures of scoring."""

    criterion: str = Field(description="a criterion that `hfprune methods` lists")
    options: dict[str, Any] = Field(default={}, description="options of the criterion as JSON")

    def make(self) -> Criterion:
        """Return the criterion.

        Raises:
            HfpruneError: the criterion or an option is unknown.
        """
        return make_criterion(self.criterion, self.options, "--criterion/--options", [*self.units])


class CellFiles(Change):
    """The files that turn the dense model into the measured one, and the folder of its results."""

    adapter: AdapterFolder = None
    instead: Annotated[Path | None, AssetFlag("models")] = Field(
        default=None, description="another model with the same tokenizer, instead of a pruned one"
    )
    quantised: Bits | None = Field(
        default=None, description="bits of the decoder layers' weights, rounded after all other changes"
    )
    resampled: ExistingPath | None = Field(
        default=None,
        description="plans of resampled calibrations (`hfprune plan --resampled`), measured beside the plan",
    )
    cell: CellName = None
    out: Path = Field(description="folder of the results: NAME.json, or NAME with one file per task")

    @model_validator(mode="after")
    def _whole_or_changed(self) -> "CellFiles":
        if self.instead and (self.plan or self.checkpoint or self.adapter):
            raise ValueError("--instead is a whole model: give no --plan, --checkpoint or --adapter")
        return self


class ToMeasure(CellFiles):
    """One cell to measure, or the scoring by one criterion."""

    scored: ScoredBy | None = Field(default=None, description="for measures of scoring")


class MeasureCells(Stage, Computing, Placement):
    """The results of any measures on any cells of one dense model."""

    work: ClassVar = "device"

    model: DenseModel
    resources: Resources = Path("resources")
    measures: dict[Name, NamedMeasure] = Field(
        min_length=1, description="measures, with the keys of a study's section `measures`"
    )
    cells: list[ToMeasure] = Field(min_length=1, description="cells, measured in turn")

    _earlier: "MeasureCells | None" = PrivateAttr(None)
    _subject: Subject | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _folders_differ(self) -> "MeasureCells":
        if len({cell.out for cell in self.cells}) < len(self.cells):
            raise ValueError("two cells have the same `out`, and one would replace the other")
        return self

    @property
    def built_measures(self) -> dict[str, Measure]:
        """The measures with their settings, by name.

        Raises:
            HfpruneError: a measure or setting is unknown.
        """
        return {name: entry.make(name, name) for name, entry in self.measures.items()}

    @property
    def timed(self) -> bool:
        """Whether one of the measures is of time."""
        return any(measure.exclusive for measure in self.built_measures.values())

    def versions(self) -> list[int]:
        """Return the versions of the measures, and of the criterion whose scoring is measured."""
        scored = [cell.scored.make().version for cell in self.cells if cell.scored]
        return [*(measure.version for measure in self.built_measures.values()), *scored]

    def follow(self, earlier: "MeasureCells") -> None:
        """Reuse the outputs of the same dense model from an earlier job of this process."""
        assert (self.model, self.dtype) == (earlier.model, earlier.dtype)
        self._earlier = earlier

    def named_inputs(self) -> dict[str, list[Path]]:
        """Return the files of the cells, and those that the measures read."""
        measures = self.built_measures.values()
        assets = {asset for measure in measures for asset in measure.assets()}
        files = {file for measure in measures for file in measure.files()}
        fetched = [self.resources / asset / "asset.json" for asset in sorted(assets)]
        return super().named_inputs() | {"measures": [*fetched, *sorted(files)]}

    def outputs(self) -> list[Path]:
        """Return the results of every cell, with their items."""
        names = [stem for name, measure in self.built_measures.items() for stem in stems(name, measure)]
        ends = ("json", "parquet")
        return [cell.out / f"{stem}.{end}" for cell in self.cells for stem in names for end in ends]

    def unfinished(self, made: Container[Path] = ()) -> "list[MeasureCells]":
        """Return a job for each cell with the measures that are still to be taken, as far as files tell.

        A result may exist, wait for the others of a killed job, or be among those `made` by earlier steps.
        """

        def lacks(cell: ToMeasure, name: str, stem: str) -> bool:
            file = cell.out / f"{stem}.json"
            waiting = waiting_folder(cell.out, name) / f"{stem}.json"
            return file not in made and not file.exists() and not waiting.exists()

        parts, built = list[MeasureCells](), self.built_measures
        for cell in self.cells:
            names = [
                name for name in built if any(lacks(cell, name, stem) for stem in stems(name, built[name]))
            ]
            if names:
                measures = {name: self.measures[name] for name in names}
                parts.append(MeasureCells(**dict(self) | {"measures": measures, "cells": [cell]}))
        return parts

    def check(self) -> None:
        """Fail if a measure cannot be taken of a cell or together with the others.

        Raises:
            HfpruneError: names the missing or superfluous flag.
        """
        measures = self.built_measures
        for name, measure in measures.items():
            if len(measures) > 1 and measure.needs == "criterion":
                raise HfpruneError(f"{name} must be measured alone")
            for cell in self.cells:
                self._check(name, measure, cell)
        if any(cell.resampled for cell in self.cells) and not any(m.resampled for m in measures.values()):
            raise HfpruneError(f"{', '.join(measures)}: not measured on resampled plans: remove --resampled")

    def pruned(self, cell: ToMeasure, dtype: Dtype | None = None) -> Pruned:
        """Return the model of a cell."""
        files = cell.model_dump(include={"plan", "checkpoint", "linear", "adapter"})
        files |= {"checkpoint": cell.instead} if cell.instead else {}
        return Pruned(model=self.model, dtype=dtype, **files)

    def _check(self, name: str, measure: Measure, cell: ToMeasure) -> None:
        pruned = self.pruned(cell)
        if measure.needs == "beside" and not cell.quantised:
            pruned.require_change()
        if cell.resampled and (cell.adapter or cell.linear or cell.quantised or not cell.plan):
            raise HfpruneError("--resampled needs --plan, and no --linear, --adapter or --quantised")
        if measure.needs in ("dense", "criterion") and (pruned.change_inputs() or cell.quantised):
            raise HfpruneError(
                f"{name} measures the dense model: remove --plan, --checkpoint, --instead, --linear, --adapter "
                "and --quantised"
            )
        if cell.quantised and self.device_map == "disk":
            raise HfpruneError(
                "--quantised: rounded weights are new weights, which must all fit into memory: leave out "
                "--quantised or --device-map disk"
            )
        if (measure.needs == "criterion") != (cell.scored is not None):
            raise HfpruneError(f"{name}: a measure of scoring, and no other, takes --criterion")

    def run(self) -> bool | None:
        """Take the measures of every cell, write their results, and print them."""
        self.check()

        from hfprune.evaluation.measuring import measure_cells, with_batch_size

        on_disk = self.device_map == "disk"
        measures = {
            name: with_batch_size(measure, on_disk=on_disk) for name, measure in self.built_measures.items()
        }
        dtype = self.dtype
        targets: list[CellToMeasure] = []
        first = self._earlier._subject if self._earlier else None
        for cell in self.cells:
            targets.append(self._target(cell, dtype, targets[0].subject if targets else first))
        self._subject = first or targets[0].subject
        for file in self.outputs():
            if not file.exists():
                require_writable(file)  # before hours of measuring
        scored = self.cells[0].scored
        scoring = scored and scored.scoring_settings(scored.criterion, scored.make())
        settings: dict[str, object] = {"scoring": scoring} if scoring else {}
        settings |= {"device_map": self.device_map} if self.device_map else {}
        anew = measure_cells(measures, targets, dtype=dtype, **settings)
        for target in targets:
            files = [f"{stem}.json" for name, measure in measures.items() for stem in stems(name, measure)]
            print(values_table([read_result(target.out / file) for file in files]))
        return anew

    def _target(self, cell: ToMeasure, dtype: Dtype | None, beside: Subject | None) -> "CellToMeasure":
        """Return a cell with its subject, which loads its models when needed."""
        from hfprune.assets.resolving import resolve
        from hfprune.evaluation.measuring import CellToMeasure
        from hfprune.models.load import load_model, load_skeleton, load_tokenizer
        from hfprune.models.quantised import quantise
        from hfprune.plans.planning import check_plan, load_plan, plan_note
        from hfprune.scoring.score_files import load_resampled

        pruned = self.pruned(cell, dtype)
        changed, device_map = pruned.change_inputs(), self.device_map
        if cell.plan:  # before the work on the dense model
            check_plan(load_skeleton(self.model), load_plan(cell.plan))
        inputs = {"model": self.model} | changed
        inputs |= {"resampled": cell.resampled} if cell.resampled else {}
        bits, whole = cell.quantised, pruned.checkpoint or not (changed or cell.quantised)
        subject = Subject(
            (lambda: quantise(pruned.load(device_map=device_map), bits)) if whole else None,
            (lambda: load_model(self.model, dtype, device_map=device_map)) if changed or bits else None,
            change=None if whole else lambda model: quantise(pruned.change(model), bits),
            tokenizer=lambda: load_tokenizer(self.model),
            find=partial(resolve, resources=self.resources),
            resampled=load_resampled(cell.resampled) if cell.resampled else [],
            beside=beside,
        )
        named = pruned.named_cell(cell.cell)
        if bits and not changed:
            named = cell_of(cell.cell, self.model, "quantised")
        if scored := cell.scored:
            criterion = scored.make()
            scored.check_blocks(scored.criterion, criterion)
            subject.scoring = ToScore(criterion, scored.tokens(), [*scored.units], scored.seed)
            named = cell_of(cell.cell, self.model, scored.criterion, draw=scored.seed)
            inputs |= scored.scoring_inputs(criterion)
        note, settings = plan_note(cell.plan) if cell.plan else "", {"quantised": bits} if bits else {}
        return CellToMeasure(subject, named, cell.out, inputs, note, settings)
