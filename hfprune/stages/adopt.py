"""Check that a plan or checkpoint of another tool fits the model and the budget."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from hfprune.cells import read_result, values_table, write_result
from hfprune.provenance import provenance
from hfprune.runs import Stopwatch
from hfprune.stages import Output, Stage
from hfprune.stages.fields import CellName, Json
from hfprune.stages.target import Cut, cell_of, size_values


class Adopt(Stage, Cut):
    """The size of a model that another tool pruned."""

    example: ClassVar = (
        "hfprune adopt --model resources/models/smollm2-135m-instruct-q4 --checkpoint pruned --ratio 0.2 "
        "--out size.json"
    )
    work: ClassVar = "device"

    ratio: float = Field(description="fraction of all parameters that the tool should have removed")
    cell: CellName = None
    out: Annotated[Json, Output()] = Field(description="file of the pruned model's size")

    @model_validator(mode="after")
    def _pruned(self) -> "Adopt":
        if self.linear:
            raise ValueError("--linear is for plans of hfprune; leave it out for another tool's")
        if not self.cut_inputs():
            raise ValueError("give the other tool's --plan or --checkpoint")
        return self

    def run(self) -> None:
        """Check the plan or checkpoint of another tool and write the size of its model."""
        from hfprune.plans.adoption import adopt

        watch = Stopwatch()
        (pruned,) = self.cut_inputs().values()
        size = adopt(self.model, pruned, self.ratio)
        run = provenance(watch, self.sources(), ratio=self.ratio)
        cell = cell_of(self.cell, self.model, self.method(), self.ratio)
        write_result(self.out, cell, "size", "", size_values(*size), run)
        print(values_table([read_result(self.out)]))
