"""Choose the units to keep by their scores, for a ratio of all parameters."""

from pathlib import Path

from pydantic import Field

from hfprune.commands.flags import CellName, DenseModel, Safetensors
from hfprune.commands.target import UNITS, cell_of, size_values
from hfprune.settings import Strict
from hfprune.study.method import Allocation, UnitShares

EXAMPLE = (
    "hfprune plan --model resources/models/smollm2-135m --scores scores.safetensors --ratio 0.2 "
    "--out plan.safetensors"
)


class Config(Strict):
    """Flags of `hfprune plan`."""

    model: DenseModel
    scores: Path
    ratio: float = Field(description="fraction of all parameters to remove")
    units: UnitShares = UNITS
    allocation: Allocation = Field(
        default=Allocation(),
        description="uniform, global or per_parameter; or JSON, with standardize, floor and align",
    )
    cell: CellName = None
    out: Safetensors = Field(description="plan; its size goes to .json beside it")


def run(config: Config) -> None:
    """Make the plan, and write it with the size of the pruned model."""
    from hfprune.models.load import load_skeleton
    from hfprune.models.units import count_parameters
    from hfprune.plans.budget import not_applicable
    from hfprune.plans.plan import apply_plan, make_plan, save_plan
    from hfprune.provenance import Stopwatch, provenance, recorded, stable
    from hfprune.results import Value, write_result
    from hfprune.scoring.scores import load_scores

    watch = Stopwatch()
    model = load_skeleton(config.model)
    total = count_parameters(model)
    plan = make_plan(
        model, load_scores(config.scores, [*config.units]), config.ratio, config.units, config.allocation
    )
    note = not_applicable(model, config.ratio, config.units, config.allocation)
    apply_plan(model, plan)
    inputs = {"model": config.model, "scores": config.scores}
    settings = config.model_dump(include={"ratio", "units", "allocation"})
    made = provenance(watch, inputs, **settings, scoring=recorded(config.scores).get("settings", {}))
    save_plan(config.out, plan, stable(made), note)
    values = size_values(count_parameters(model), total)
    if note:
        values.append(Value("not_applicable", 1.0))
        print(f"not applicable: the method {note}; nothing is measured on this plan")
    cell = cell_of(config.cell, config.model, "pruned", config.ratio)
    path = config.out.with_suffix(".json")
    write_result(path, cell, "size", "", values, made, not_applicable=note)
