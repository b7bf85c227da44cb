"""Take measures of models that come from one dense model, pruned or recovered, or of scoring by a criterion.

A job of the workflow names any number of measures and of cells; they share one process, with one model in memory
at a time. By hand, `hfprune measure MEASURE` takes one measure of one model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject, ToScore
from hfprune.measures import Measure, stems
from hfprune.models.placement import Placement
from hfprune.results import read_result, values_table
from hfprune.settings import Name, Strict
from hfprune.stages.fields import CellName, ComputeDtype, DenseModel, ExistingPath, Resources
from hfprune.stages.scoring import Scoring
from hfprune.stages.target import Pruned, cell_of
from hfprune.study.entries import StudyMeasure

if TYPE_CHECKING:
    from hfprune.measuring import CellToMeasure


class Scored(Scoring):
    """A criterion and its blocks, for measures of scoring."""

    criterion: str = Field(description="one that `hfprune methods` lists")
    options: dict[str, Any] = Field(default={}, description="options of the criterion as JSON")


class CellFiles(Strict):
    """The files that make one model of the dense one, and where its results go."""

    plan: ExistingPath | None = Pruned.model_fields["plan"]  # type: ignore[assignment]
    checkpoint: ExistingPath | None = Pruned.model_fields["checkpoint"]  # type: ignore[assignment]
    linear: ExistingPath | None = Pruned.model_fields["linear"]  # type: ignore[assignment]
    adapter: ExistingPath | None = Pruned.model_fields["adapter"]  # type: ignore[assignment]
    resampled: ExistingPath | None = Field(
        default=None,
        description="plans of resampled calibrations (`hfprune plan --resampled`), measured beside the plan",
    )
    cell: CellName = None
    out: Path = Field(description="folder of the results: NAME.json, or NAME with one file per task")


class ToMeasure(CellFiles):
    """One cell, or the scoring by one criterion."""

    scored: Scored | None = Field(default=None, description="for measures of scoring")


class Config(Placement):
    """The measures and the cells of one job."""

    model: DenseModel
    dtype: ComputeDtype = None
    resources: Resources = Path("resources")
    measures: dict[Name, StudyMeasure] = Field(
        min_length=1, description="with the keys of the section `measures` of a study"
    )
    cells: list[ToMeasure] = Field(min_length=1, description="measured one after another")

    @model_validator(mode="after")
    def _folders_differ(self) -> "Config":
        if len({cell.out for cell in self.cells}) < len(self.cells):
            raise ValueError("two cells have the same `out`, so that one would replace the other")
        return self

    def make_measures(self) -> dict[str, Measure]:
        """Return the measures by name.

        Raises:
            HfpruneError: a measure or setting is unknown, does not go with a cell, or is taken alone.
        """
        found = {name: entry.make(name, name) for name, entry in self.measures.items()}
        for name, measure in found.items():
            if len(found) > 1 and (measure.needs == "criterion" or measure.dtype):
                raise HfpruneError(f"{name} is taken alone, not with other measures")
            for cell in self.cells:
                self._check(name, measure, cell)
        if any(cell.resampled for cell in self.cells) and not any(one.resampled for one in found.values()):
            raise HfpruneError(f"{', '.join(found)}: not measured on resampled plans: remove --resampled")
        return found

    def pruned(self, cell: ToMeasure) -> Pruned:
        """Return the model of a cell."""
        files = cell.model_dump(include={"plan", "checkpoint", "linear", "adapter"})
        return Pruned(model=self.model, dtype=self.dtype, **files)

    def _check(self, name: str, measure: Measure, cell: ToMeasure) -> None:
        """Fail if a measure is not taken on such a model; the line names the flag that is missing or too many."""
        pruned = self.pruned(cell)
        if measure.needs == "beside":
            pruned.require_change()
        if cell.resampled and (cell.adapter or cell.linear or not cell.plan):
            raise HfpruneError("--resampled needs --plan, and no --linear or --adapter")
        if measure.needs in ("dense", "criterion") and pruned.change_inputs():
            raise HfpruneError(
                f"{name} measures the dense model: remove --plan, --checkpoint, --linear and --adapter"
            )
        if (measure.needs == "criterion") != (cell.scored is not None):
            raise HfpruneError(f"{name}: a measure of scoring, and no other, takes --criterion")


def run(config: Config) -> None:
    """Take the measures of every cell, write their results, and print them."""
    measures = config.make_measures()

    from hfprune.measuring import measure_cells, with_batch_size

    measures = {name: with_batch_size(measure) for name, measure in measures.items()}
    dtype = next(iter(measures.values())).dtype or config.dtype
    config = config.model_copy(update={"dtype": dtype})
    targets: list[CellToMeasure] = []
    for cell in config.cells:
        targets.append(_target(config, cell, targets[0].subject if targets else None))
    measure_cells(measures, targets, dtype=dtype, **_scoring_settings(config))
    for target in targets:
        files = [f"{stem}.json" for name, measure in measures.items() for stem in stems(name, measure)]
        print(values_table([read_result(target.out / file) for file in files]))


def _target(config: Config, cell: ToMeasure, beside: Subject | None) -> "CellToMeasure":
    """Return the subject, which loads its models when needed, and where its results go."""
    from hfprune.measuring import CellToMeasure
    from hfprune.models.load import load_model, load_skeleton, load_tokenizer
    from hfprune.plans.plan import check_plan, load_plan, plan_note
    from hfprune.scoring.scores import load_resampled

    pruned = config.pruned(cell)
    changed, device_map = pruned.change_inputs(), config.device_map
    if cell.plan:  # before the dense model's part of the work
        check_plan(load_skeleton(config.model), load_plan(cell.plan))
    inputs = {"model": config.model} | changed
    inputs |= {"resampled": cell.resampled} if cell.resampled else {}
    change = pruned.change if changed and not cell.checkpoint else None
    subject = Subject(
        None if change else lambda: pruned.load(device_map=device_map),
        (lambda: load_model(config.model, config.dtype, device_map=device_map)) if changed else None,
        change=change,
        tokenizer=lambda: load_tokenizer(config.model),
        resources=config.resources,
        resampled=load_resampled(cell.resampled) if cell.resampled else [],
        beside=beside,
    )
    named = pruned.named_cell(cell.cell)
    if scored := cell.scored:
        criterion = make_criterion(scored.criterion, scored.options, "--options", [*scored.units])
        scored.check_blocks(scored.criterion, criterion)
        subject.scoring = ToScore(criterion, scored.tokens(), [*scored.units], scored.seed)
        named = cell_of(cell.cell, config.model, scored.criterion, seed=scored.seed)
        inputs |= scored.inputs(criterion)
    return CellToMeasure(subject, named, cell.out, inputs, plan_note(cell.plan) if cell.plan else "")


def _scoring_settings(config: Config) -> dict[str, Any]:
    """Return the settings of scoring for provenance, for a measure of scoring."""
    scored = config.cells[0].scored
    if scored is None:
        return {}
    criterion = make_criterion(scored.criterion, scored.options, "--options", [*scored.units])
    return {"scoring": scored.settings(scored.criterion, criterion)}
