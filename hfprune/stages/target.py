"""The model that a command works on: a dense one, and the plan, checkpoint or adapter that changes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from hfprune.cells import BY_HAND, DENSE, UNCALIBRATED, Cell, Value
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.settings import DeviceMap, Dtype, Strict
from hfprune.settings.recovery import ADAPTER, SOLVED
from hfprune.stages import Input
from hfprune.stages.fields import Computing, DenseModel, ExistingPath, PlanFile

if TYPE_CHECKING:
    from transformers import PreTrainedModel


AdapterFolder = Annotated[
    Path | None, Input((ADAPTER,)), Field(description="folder of an adapter to merge, by `hfprune recover`")
]


class Change(Strict):
    """The files of a pruned model: a plan, perhaps with solved weights, or a checkpoint."""

    plan: PlanFile | None = Field(
        default=None, description="plan of the pruned model (none: the dense model)"
    )
    checkpoint: ExistingPath | None = Field(
        default=None, description="folder of a model pruned by another tool"
    )
    linear: Annotated[Path | None, Input((SOLVED,))] = Field(
        default=None, description="folder of weights reconstructed for the plan, by `hfprune linear`"
    )

    @model_validator(mode="after")
    def _plan_or_checkpoint(self) -> "Change":
        if self.plan and self.checkpoint:
            raise ValueError("give --plan or --checkpoint, not both")
        if self.linear and not self.plan:
            raise ValueError("--linear needs the --plan that it was solved for")
        return self


class Cut(Change):
    """Flags of a command that takes a dense model, or a pruned one as a plan or a checkpoint."""

    model: DenseModel

    def cut_inputs(self) -> dict[str, Path]:
        """Return the plan or checkpoint, and the solved weights, by role, for provenance."""
        inputs = {"plan": self.plan, "checkpoint": self.checkpoint}
        if self.linear:
            inputs["linear"] = self.linear / SOLVED
        return {role: path for role, path in inputs.items() if path}

    def method(self) -> str:
        """Return the name of the method in a cell without `--cell`."""
        return "pruned" if self.cut_inputs() else DENSE

    def load(self, dtype: Dtype | None = None, device_map: DeviceMap | None = None) -> "PreTrainedModel":
        """Load the checkpoint, or the dense model with the plan applied, and merge the adapter if given.

        Raises:
            HfpruneError: a file does not load, or does not fit the others.
        """
        from hfprune.models.load import load_checkpoint, load_model
        from hfprune.plans.planning import load_plan

        if self.checkpoint:
            return self._adapted(load_checkpoint(self.checkpoint, self.model, dtype, device_map))
        if self.plan:
            load_plan(self.plan)  # a damaged file fails before the model loads
        return self.change(load_model(self.model, dtype, device_map=device_map))

    def change(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """Apply plan, solved weights and adapter, as far as given, to the dense model in place.

        Raises:
            HfpruneError: a file does not load, or does not fit the model.
        """
        from hfprune.plans.planning import apply_plan, load_plan

        if self.plan:
            apply_plan(model, load_plan(self.plan))
        if self.plan and self.linear:
            from hfprune.recovery.solved import apply_linear

            inputs = {"model": self.model, "plan": self.plan}
            apply_linear(model, load_plan(self.plan), self.linear / SOLVED, inputs)
        return self._adapted(model)

    def _adapted(self, model: "PreTrainedModel") -> "PreTrainedModel":
        return model


class Pruned(Cut, Computing):
    """Flags of a command that takes a dense, a pruned or a recovered model."""

    adapter: AdapterFolder = None

    def change_inputs(self) -> dict[str, Path]:
        """Return, by role, the files that change the dense model, for provenance."""
        return self.cut_inputs() | ({"adapter": self.adapter / ADAPTER} if self.adapter else {})

    def require_change(self) -> None:
        """Fail if the model would be the dense one.

        Raises:
            HfpruneError: neither plan, checkpoint nor adapter is given.
        """
        if not self.change_inputs():
            raise HfpruneError(
                "give --plan or --checkpoint, --adapter, or both: this would be the dense model"
            )

    def named_cell(self, named: "Cell | None") -> "Cell":
        """Return the cell that `--cell` names, or a cell of this model by hand."""
        steps = {"linear": self.linear, "lora": self.adapter}
        recoveries = "+".join(step for step, folder in steps.items() if folder)
        recovery = Recovery(recoveries) if recoveries else Recovery.NONE
        return cell_of(named, self.model, self.method(), recovery=recovery)

    def load(self, dtype: Dtype | None = None, device_map: DeviceMap | None = None) -> "PreTrainedModel":
        """Load the model as `Cut.load`, by default in the dtype of the flag."""
        return super().load(dtype or self.dtype, device_map)

    def _adapted(self, model: "PreTrainedModel") -> "PreTrainedModel":
        if not self.adapter:
            return model
        from hfprune.models.on_disk import is_on_disk
        from hfprune.recovery.adapter import merge_adapter

        if is_on_disk(model):
            raise HfpruneError(
                "--adapter: merged weights are new weights, which must all fit into memory: "
                "leave out --adapter or --device-map disk"
            )
        return merge_adapter(model, self.adapter, {"model": self.model} | self.cut_inputs())


def cell_of(
    named: "Cell | None",
    model: Path,
    method: str,
    ratio: float | None = None,
    draw: int = 0,
    recovery: Recovery = Recovery.NONE,
) -> "Cell":
    """Return the named cell of a study, or a cell of a run by hand."""
    return named or Cell(BY_HAND, model.name, method, UNCALIBRATED, 0, ratio, draw, recovery)


def size_values(left: int, total: int) -> "list[Value]":
    """Return the size of a pruned model of `left` parameters: absolute, and the ratios removed and kept."""
    return [
        Value("parameters", float(left)),
        Value("parameter_ratio", 1 - left / total),
        Value("parameters_kept", left / total),
    ]
