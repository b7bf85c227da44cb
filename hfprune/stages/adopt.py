"""Check a plan or checkpoint that another tool made: does it fit the model and the budget?"""

from pydantic import Field, model_validator

from hfprune.provenance import Stopwatch, provenance
from hfprune.results import read_result, values_table, write_result
from hfprune.stages.fields import CellName, Json
from hfprune.stages.target import Cut, cell_of, size_values

EXAMPLE = (
    "hfprune adopt --model resources/models/smollm2-135m-instruct-q4 --checkpoint pruned --ratio 0.2 "
    "--out size.json"
)


class Config(Cut):
    """Flags of `hfprune adopt`."""

    ratio: float = Field(description="fraction of all parameters that the tool had to remove")
    cell: CellName = None
    out: Json = Field(description="size of the pruned model")

    @model_validator(mode="after")
    def _pruned(self) -> "Config":
        if self.linear:
            raise ValueError("--linear solves weights here; another tool's plan has none")
        if not self.cut_inputs():
            raise ValueError("give the other tool's --plan or --checkpoint")
        return self


def run(config: Config) -> None:
    """Check the plan or checkpoint of another tool and write the size of its model."""
    from hfprune.plans.adoption import adopt

    watch = Stopwatch()
    (pruned,) = config.cut_inputs().values()
    size = adopt(config.model, pruned, config.ratio)
    made = provenance(watch, {"model": config.model} | config.cut_inputs(), ratio=config.ratio)
    cell = cell_of(config.cell, config.model, config.method(), config.ratio)
    write_result(config.out, cell, "size", "", size_values(*size), made)
    print(values_table([read_result(config.out)]))
