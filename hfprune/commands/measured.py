"""Flags of the commands that measure: the model, and where its results go."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from hfprune.commands.flags import CellName, ExistingPath
from hfprune.commands.target import Pruned
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measures import Measure
from hfprune.models.placement import Placement
from hfprune.settings import Dtype

if TYPE_CHECKING:
    from hfprune.measuring import Target


class Measured(Pruned, Placement):
    """The model, dense, pruned or recovered, its resampled plans, and the place of the results."""

    resources: Path = Field(default=Path("resources"), description="folder of the fetched assets")
    resampled: ExistingPath | None = Field(
        default=None,
        description="plans of resampled calibrations (`hfprune plan --resampled`), measured beside the plan",
    )
    cell: CellName = None
    out: Path = Field(description="folder of the results: NAME.json, or NAME with one file per task")

    def check(self, name: str, kind: type[Measure]) -> None:
        """Fail if a measure is not taken on such a model.

        Raises:
            HfpruneError: names the measure, and the flag that is missing or too many.
        """
        if kind.needs == "beside":
            self.require_change()
        if self.device_map:
            kind.require_spread(name)
            if self.adapter:
                raise HfpruneError("--adapter is merged into weights on one device: remove --device-map")
        if self.resampled and (self.adapter or not self.plan):
            raise HfpruneError("--resampled needs --plan, and no --adapter")
        if kind.needs in ("dense", "criterion") and self.change_inputs():
            raise HfpruneError(f"{name} measures the dense model: remove --plan, --checkpoint and --adapter")

    def target(self, dtype: Dtype | None, beside: Subject | None = None) -> "Target":
        """Return the subject, which loads its models when needed, and where its results go.

        `beside` is another subject of the same dense model.
        """
        from hfprune.measuring import Target
        from hfprune.models.load import load_model, load_skeleton, load_tokenizer
        from hfprune.plans.plan import check_plan, load_plan, plan_note
        from hfprune.scoring.scores import load_resampled

        changed = self.change_inputs()
        if self.plan:  # before the dense model's part of the work
            check_plan(load_skeleton(self.model), load_plan(self.plan))
        subject = Subject(
            lambda: self.load(dtype, **self.placement()),
            (lambda: load_model(self.model, dtype, **self.placement())) if changed else None,
            change=None if self.checkpoint else self.change,
            tokenizer=lambda: load_tokenizer(self.model),
            resources=self.resources,
            resampled=load_resampled(self.resampled) if self.resampled else [],
            beside=beside,
        )
        inputs = {"model": self.model} | changed
        inputs |= {"resampled": self.resampled} if self.resampled else {}
        cell, note = self.named_cell(self.cell), plan_note(self.plan) if self.plan else ""
        return Target(subject, cell, self.out, inputs, note)
