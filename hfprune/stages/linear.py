"""Reconstruct the weights that read the kept units, so that pruned layers give nearly the dense outputs.

Least squares on the calibration, without training: one pass serves all plans of a model (docs/recovery.md).
"""

import shutil
from math import inf
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from hfprune.cells import Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.files import remove_unfinished, require_only
from hfprune.provenance import fingerprint, is_current, provenance, stable
from hfprune.runs import Stopwatch
from hfprune.settings import Placement, Strict
from hfprune.settings.recovery import RECOVERED, SOLVED, Linear
from hfprune.stages import Inline, Output, Stage
from hfprune.stages.fields import (
    BatchTokens,
    CellName,
    Computing,
    DenseModel,
    ExistingPath,
    PlanFile,
)
from hfprune.stages.target import cell_of

if TYPE_CHECKING:
    from hfprune.recovery.solved import Solved

SolvedOut = Annotated[Path, Output((SOLVED, RECOVERED))]


class ToSolve(Strict):
    """A plan of the model, and the folder of its solved weights."""

    plan: PlanFile
    cell: CellName = None
    out: SolvedOut


class SolveLinear(Stage, Computing, Placement):
    """The weights that read the kept units, by least squares."""

    example: ClassVar = (
        "hfprune linear --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
        "--blocks blocks.safetensors --out solved"
    )
    work: ClassVar = "machine"

    model: DenseModel
    blocks: ExistingPath = Field(description="calibration blocks")
    plan: PlanFile | None = Field(default=None, description="plan of the pruned model")
    out: SolvedOut | None = Field(
        default=None, description="folder of the reconstructed weights and their errors"
    )
    cells: list[ToSolve] = Field(
        default=[], description="instead of --plan and --out: several pairs of both, as JSON"
    )
    linear: Annotated[Linear, Inline()] = Linear()
    batch_tokens: BatchTokens = None

    @model_validator(mode="after")
    def _one_or_several(self) -> "SolveLinear":
        if bool(self.plan and self.out) == bool(self.cells) or bool(self.plan) != bool(self.out):
            raise ValueError("give --plan and --out, or --cells")
        return self

    def run(self) -> bool | None:
        """Solve all plans that are not solved yet, and write each with its errors and the cost of all."""
        from hfprune.calibration.blocks import block_documents, load_blocks
        from hfprune.models.load import default_batch_tokens, load_model
        from hfprune.plans.planning import load_plan, plan_note
        from hfprune.recovery.reconstruction import solve_plans
        from hfprune.recovery.solved import save_solved

        batch_tokens = self.batch_tokens or default_batch_tokens()
        chosen = self.model_dump(mode="json")["linear"]
        settings = {"linear": chosen, "dtype": self.dtype, "batch_tokens": batch_tokens}
        shared = {"model": self.model, "blocks": self.blocks}
        cells = self.cells or [ToSolve(plan=self.plan, out=self.out)]  # type: ignore[arg-type]
        for cell in cells:
            remove_unfinished(cell.out, {SOLVED, RECOVERED})
            require_only(cell.out, {SOLVED, RECOVERED})
        watch, notes = Stopwatch(), {cell.out: plan_note(cell.plan) for cell in cells}
        for cell in self.cells:  # a plan without a solution must not stop the others
            if {*load_plan(cell.plan)} == {"layers"}:
                notes[cell.out] = "cuts whole layers only"
        todo = {}
        for number, cell in enumerate(cells):
            inputs = shared | {"plan": cell.plan}
            if not is_current(cell.out / RECOVERED, [cell.out / SOLVED], inputs, settings):
                todo[f"{number}"] = cell
        plans = {name: load_plan(cell.plan) for name, cell in todo.items() if not notes[cell.out]}
        first = cells[0].out
        state, solutions = first.with_name(f"{first.name}.state"), {}
        if plans:
            solutions = solve_plans(
                load_model(self.model, self.dtype, device_map=self.device_map),
                load_blocks(self.blocks),
                plans,
                state,
                self.linear,
                documents=block_documents(self.blocks),
                batch_tokens=batch_tokens,
                identity=fingerprint(shared | {name: todo[name].plan for name in plans}, settings),
            )
        for name, cell in todo.items():
            note, solved = notes[cell.out], solutions.get(name, {})
            run = provenance(watch, shared | {"plan": cell.plan}, **settings)
            cell.out.mkdir(parents=True, exist_ok=True)
            (cell.out / RECOVERED).unlink(missing_ok=True)  # it describes the weights that are replaced now
            save_solved(cell.out / SOLVED, solved, stable(run))
            named = cell_of(cell.cell, self.model, "pruned", recovery=Recovery.LINEAR)
            values = [] if note else _values(solved, watch)
            write_result(cell.out / RECOVERED, named, "recovery", "", values, run, not_applicable=note)
        shutil.rmtree(state, ignore_errors=True)
        return bool(todo)


def _values(solved: "dict[str, Solved]", watch: "Stopwatch") -> "list[Value]":
    """Return the mean share of the lost output that remains, the median λ, and the cost of all plans together."""
    cost, ridge = watch.cost(), median(layer.ridge for layer in solved.values())
    return [
        Value("lost_output_left", fmean(layer.left for layer in solved.values()), n=len(solved)),
        *([Value("ridge", ridge)] if ridge < inf else []),
        *(Value(metric, cost[metric]) for metric in ("seconds", "peak_memory_bytes")),
    ]
