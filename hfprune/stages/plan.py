"""Choose the units to keep by their scores, for a ratio of all parameters."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from hfprune.cells import Value, read_result, values_table, write_result
from hfprune.provenance import is_current, provenance, recorded, stable
from hfprune.runs import Stopwatch
from hfprune.settings.allocation import Allocation
from hfprune.stages import Input, Output, Stage
from hfprune.stages.fields import CellName, DenseModel, Safetensors
from hfprune.stages.target import cell_of, size_values
from hfprune.study.method import Units
from hfprune.study.paths import RESAMPLED

# A scoring job may have scored only other methods again; `after` tells whether a method's own scores are new.
_SCORES = Input(ancient=True)


class MakePlan(Stage):
    """The kept units of a model."""

    example: ClassVar = (
        "hfprune plan --model resources/models/smollm2-135m-instruct-q4 --scores scores.safetensors --ratio 0.2 "
        "--out plan.safetensors"
    )

    model: DenseModel
    scores: Annotated[Path, _SCORES]
    resampled: Annotated[Path | None, _SCORES] = Field(
        default=None,
        description="scores of resampled calibrations (`hfprune score --resamples`); their plans go to "
        ".resampled.safetensors beside the plan",
    )
    ratio: float = Field(description="fraction of all parameters to remove")
    part: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the units to remove, for pruning in steps; the next step scores the remaining units "
        "(`hfprune score --plan`)",
    )
    units: Units = Field(default={"neurons": None})
    allocation: Allocation = Field(
        default=Allocation(),
        description="uniform, global or joint; or JSON, with standardize, align and spare",
    )
    cell: CellName = None
    out: Annotated[Safetensors, Output(("", ".json"))] = Field(
        description="plan; its size goes to .json beside it"
    )

    def outputs(self) -> list[Path]:
        """Return the plan, its size and, if asked for, the plans of resampled calibrations."""
        resampled = [self.out.with_suffix(RESAMPLED)] if self.resampled else []
        return super().outputs() + resampled

    def run(self) -> bool | None:
        """Make the plan, and write it with the size of the pruned model."""
        from hfprune.models.load import load_skeleton
        from hfprune.models.units import count_parameters
        from hfprune.plans.counts import not_applicable
        from hfprune.plans.planning import Plan, apply_plan, make_plan, save_plan
        from hfprune.scoring.score_files import Scores, load_resampled, load_scores, save_resampled

        settings = self.model_dump(include={"ratio", "units", "allocation"})
        settings |= {"part": self.part} if self.part < 1 else {}
        scoring, path = recorded(self.scores), self.out.with_suffix(".json")
        settings["scoring"] = scoring.get("settings", {}) | scoring.get("drawn", {})
        if is_current(path, self.outputs(), self.sources(), settings):
            return False
        watch = Stopwatch()
        model = load_skeleton(self.model)
        total = count_parameters(model)

        def cut(scores: Scores) -> Plan:
            return make_plan(model, scores, self.ratio, self.units, self.allocation, self.part)

        plan = cut(load_scores(self.scores, [*self.units]))
        others = [cut(scores) for scores in load_resampled(self.resampled)] if self.resampled else []
        note = not_applicable(model, self.ratio, self.units, self.allocation)
        apply_plan(model, plan)
        run = provenance(watch, self.sources(), **settings)
        path.unlink(missing_ok=True)  # it describes the plan that is replaced now
        save_plan(self.out, plan, stable(run), note)
        if self.resampled:
            save_resampled(self.out.with_suffix(RESAMPLED), others, stable(run))
        values = size_values(count_parameters(model), total)
        if note:
            values.append(Value("not_applicable", 1.0))
            print(f"not applicable: the method {note}; nothing is measured on this plan")
        cell = cell_of(self.cell, self.model, "pruned", self.ratio)
        write_result(path, cell, "size", "", values, run, not_applicable=note)
        print(values_table([read_result(path)]))
        return True
