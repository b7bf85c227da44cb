"""Choose the units to keep by their scores, for a ratio of all parameters."""

from pydantic import Field

from hfprune.models.kinds import UnitShares
from hfprune.plans.rules import Allocation
from hfprune.provenance import Stopwatch, provenance, recorded, stable
from hfprune.results import Value, read_result, values_table, write_result
from hfprune.settings import Strict
from hfprune.stages.fields import CellName, DenseModel, ExistingPath, Safetensors
from hfprune.stages.target import UNITS, cell_of, size_values
from hfprune.study.layout import RESAMPLED

EXAMPLE = (
    "hfprune plan --model resources/models/smollm2-135m-instruct-q4 --scores scores.safetensors --ratio 0.2 "
    "--out plan.safetensors"
)


class Config(Strict):
    """Flags of `hfprune plan`."""

    model: DenseModel
    scores: ExistingPath
    resampled: ExistingPath | None = Field(
        default=None,
        description="scores of resampled calibrations (`hfprune score --resamples`); their plans go to "
        ".resampled.safetensors beside the plan",
    )
    ratio: float = Field(description="fraction of all parameters to remove")
    part: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="part of the way to the ratio, for a step of several; the next step scores what this one has "
        "left (`hfprune score --plan`)",
    )
    units: UnitShares = UNITS
    allocation: Allocation = Field(
        default=Allocation(),
        description="uniform, global or joint; or JSON, with standardize, floor, align and spare",
    )
    cell: CellName = None
    out: Safetensors = Field(description="plan; its size goes to .json beside it")


def run(config: Config) -> None:
    """Make the plan, and write it with the size of the pruned model."""
    from hfprune.models.load import load_skeleton
    from hfprune.models.units import count_parameters
    from hfprune.plans.budget import not_applicable
    from hfprune.plans.plan import Plan, apply_plan, make_plan, save_plan
    from hfprune.scoring.scores import Scores, load_resampled, load_scores, save_resampled

    watch = Stopwatch()
    model = load_skeleton(config.model)
    total = count_parameters(model)

    def cut(scores: Scores) -> Plan:
        return make_plan(model, scores, config.ratio, config.units, config.allocation, config.part)

    plan = cut(load_scores(config.scores, [*config.units]))
    others = [cut(scores) for scores in load_resampled(config.resampled)] if config.resampled else []
    note = not_applicable(model, config.ratio, config.units, config.allocation)
    apply_plan(model, plan)
    inputs = {"model": config.model, "scores": config.scores}
    inputs |= {"resampled": config.resampled} if config.resampled else {}
    settings = config.model_dump(include={"ratio", "units", "allocation"})
    settings |= {"part": config.part} if config.part < 1 else {}
    known = recorded(config.scores)
    scoring = known.get("settings", {}) | known.get("drawn", {})
    made = provenance(watch, inputs, **settings, scoring=scoring)
    save_plan(config.out, plan, stable(made), note)
    if config.resampled:
        save_resampled(config.out.with_suffix(RESAMPLED), others, stable(made))
    values = size_values(count_parameters(model), total)
    if note:
        values.append(Value("not_applicable", 1.0))
        print(f"not applicable: the method {note}; nothing is measured on this plan")
    cell = cell_of(config.cell, config.model, "pruned", config.ratio)
    path = config.out.with_suffix(".json")
    write_result(path, cell, "size", "", values, made, not_applicable=note)
    print(values_table([read_result(path)]))
