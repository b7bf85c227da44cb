"""Score every unit of a model by one or more criteria."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.files import require_writable
from hfprune.models.shape import Shape
from hfprune.provenance import Stopwatch, fingerprint, is_current, provenance, recorded, stable
from hfprune.results import Cell, Value, write_result
from hfprune.scoring.fitting import ScoringCost
from hfprune.scoring.passes import SUMS_SHARE
from hfprune.settings import Placement
from hfprune.stages import Stage
from hfprune.stages.fields import (
    BatchTokens,
    CellName,
    Computing,
    DenseModel,
    PlanFile,
    Safetensors,
)
from hfprune.stages.scoring import Scoring
from hfprune.stages.target import cell_of
from hfprune.study.method import ByCriterion
from hfprune.study.paths import RESAMPLED
from hfprune.study.study import Resamples

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.criteria import Criterion
    from hfprune.plans.planning import Plan
    from hfprune.scoring.score import Scored
    from hfprune.scoring.score_files import Scores


class Score(Stage, Scoring, Computing, Placement):
    """The scores of every unit of a model, by one criterion or by several that share passes."""

    example: ClassVar = (
        "hfprune score --model resources/models/smollm2-135m-instruct-q4 --blocks blocks.safetensors "
        "--criterion entropy --out scores.safetensors"
    )
    work: ClassVar = "machine"

    model: DenseModel
    plan: PlanFile | None = Field(
        default=None,
        description="plan of the step before: scores what it has left, and what it has removed as -inf",
    )
    criterion: list[str] = Field(
        default=[],
        description="one or more of those that `hfprune methods` lists; they share passes",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the criterion as JSON; for several criteria, by name"
    )
    methods: dict[str, ByCriterion] = Field(
        default={}, description="instead of --criterion: {criterion, options} by method, as JSON"
    )
    sequences: PositiveInt | None = Field(
        default=None, description="number of blocks to read, from the first (all)"
    )
    resamples: Resamples = 0
    batch_tokens: BatchTokens = None
    cell: CellName = None
    out: Safetensors = Field(
        description="scores; agreement and cost go to .json beside them, those of resampled calibrations to "
        ".resampled.safetensors; for several, with {method} in the name"
    )

    def outputs(self) -> list[Path]:
        """Return the scores of every method, and what is known of each."""
        names = [*self.methods] or self.criterion
        return [
            file for name in names for file in (*self.files(name), self.file_of(name).with_suffix(".json"))
        ]

    def named_cells(self) -> list[Cell]:
        """Return a cell for every method."""
        return [replace(cell, method=name) for cell in super().named_cells() for name in self.methods]

    def file_of(self, method: str) -> Path:
        """Return the file of the scores by one method."""
        return Path(str(self.out).replace("{method}", method))

    def files(self, method: str) -> list[Path]:
        """Return the files of the scores by one method: its own and, if asked for, the resampled ones."""
        file = self.file_of(method)
        return [file, file.with_suffix(RESAMPLED)] if self.resamples else [file]

    def run(self) -> bool | None:
        """Score by all methods without current scores, and write the scores of each."""
        methods = self._chosen()

        from hfprune.models.load import default_batch_tokens
        from hfprune.plans.planning import load_plan
        from hfprune.scoring.score_files import save_resampled, save_scores

        # Fixed before it is recorded, since results depend on it in low precision.
        batch_tokens = self.batch_tokens or default_batch_tokens()
        blocks = self.tokens(self.sequences)
        used = {
            "dtype": self.dtype,
            "batch_tokens": batch_tokens,
            "blocks": 0 if blocks is None else len(blocks),
        }
        plan = load_plan(self.plan) if self.plan else {}
        before = {"plan": self.plan} if self.plan else {}
        if self.plan:  # another tool's counts as one step
            scoring = recorded(self.plan).get("settings", {}).get("scoring", {})
            used["steps"] = 1 + scoring.get("steps", 1)
        # What the plan before has removed depends on the draw too, so its resamples would have other plans before.
        resamples = 0 if self.plan else self.resamples
        origins = {
            name: (
                {"model": self.model} | before | self.scoring_inputs(criterion),
                self.scoring_settings(criterion_name, criterion)
                | used
                # Other criteria have the same scores with and without.
                | ({"resamples": resamples} if resamples and criterion.resampled else {}),
            )
            for name, (criterion_name, criterion) in methods.items()
        }
        todo = [
            name
            for name, about in origins.items()
            if not is_current(self.file_of(name).with_suffix(".json"), self.files(name), *about)
        ]
        for name in origins.keys() - todo:
            print(f"score: {self.file_of(name)} is already there", file=sys.stderr)
        if not todo:
            return False
        for name in todo:
            require_writable(self.file_of(name))  # before the sweep, which may take hours
        # A killed run leaves its sums here, and the same call resumes from them.
        joined = "+".join(methods)
        short = joined if len(joined) < 64 else hashlib.sha256(joined.encode()).hexdigest()[:16]
        state = self.file_of(short).with_suffix(".state")
        model, whole = self._load(plan)
        tokens, watch, found = score_as_fits(
            {name: methods[name][1] for name in todo},
            model,
            blocks,
            [*self.units],
            batch_tokens,
            seed=self.seed,
            documents=self.documents(self.sequences),
            resamples=resamples,
            state=state,
            identity="".join(fingerprint(*origins[name]) for name in todo),
        )
        for name, scored in found.items():
            if self.resamples and methods[name][1].resampled and not scored.resampled:
                reason = (
                    "another draw would have another plan before"
                    if self.plan
                    else "the sequences leave one of the folds empty"
                )
                print(f"{name}: no resamples, since {reason}", file=sys.stderr)
            inputs, settings = origins[name]
            made = provenance(watch, inputs, **settings) | {
                "curve": scored.curve,
                "batch_tokens_that_fitted": tokens,
                "drawn": self.drawn(),
            }
            out, *resampled = self.files(name)
            out.with_suffix(".json").unlink(missing_ok=True)  # it is of what is replaced now
            for path in resampled:
                save_resampled(path, scored.resampled, stable(made))
            about = stable(made) | {"curve": scored.curve, "drawn": made["drawn"]}
            save_scores(out, whole(scored.scores), about, removed=bool(plan))
            last = scored.curve[-1] if scored.curve else {}
            values = [Value(key, last[key]) for key in ("sequences", "agreement") if key in last]
            # Of several methods, the cell of each.
            of_study = self.cell and replace(self.cell, method=name)
            named = cell_of(of_study, self.model, name, seed=self.seed)
            write_result(out.with_suffix(".json"), named, "cost", "", values, made)
        shutil.rmtree(state, ignore_errors=True)
        return True

    def _load(self, plan: "Plan") -> "tuple[PreTrainedModel, Callable[[Scores], Scores]]":
        """Return what a plan has left of the model, and a function from its scores to those of the dense model."""
        from hfprune.models.load import load_model
        from hfprune.models.units import units_of
        from hfprune.plans.planning import apply_plan, scores_of_dense

        model = load_model(self.model, self.dtype, device_map=self.device_map)
        counts = {name: units.count for name, units in units_of(model, self.units).items()}
        if plan:
            apply_plan(model, plan)
        return model, lambda scores: scores_of_dense(scores, plan, counts) if plan else scores

    def _chosen(self) -> "dict[str, tuple[str, Criterion]]":
        """Return, by method, the name of its criterion and the criterion with its options.

        Raises:
            HfpruneError: an unknown criterion or option, or a criterion that needs blocks and gets none.
        """
        names = list(dict.fromkeys(self.criterion))
        if bool(names) == bool(self.methods):
            raise HfpruneError("give either --criterion or --methods")
        several = len(names) > 1
        if (several or len(self.methods) > 1) and "{method}" not in str(self.out):
            raise HfpruneError("--out must contain {method} when several methods are scored")
        if several and (unknown := set(self.options) - set(names)):
            raise HfpruneError(
                f"--options for several criteria are keyed by name; {min(unknown)!r} is not one of {names}"
            )
        options = self.options if several else dict.fromkeys(names, self.options)
        methods = self.methods or {name: ByCriterion(options=options.get(name, {})) for name in names}
        found = {}
        for method, about in methods.items():
            name = about.criterion or method
            criterion = make_criterion(name, about.options, "--criterion/--options", [*self.units])
            self.check_blocks(name, criterion)
            found[method] = name, criterion
        return found


def score_as_fits(
    criteria: "dict[str, Criterion]",
    model: "PreTrainedModel",
    blocks: "Tensor | None",
    units: list[str],
    batch_tokens: int,
    **settings: Any,
) -> "tuple[int, Stopwatch, dict[str, Scored]]":
    """Score with as many sequences at a time as memory holds; return their tokens, the cost and the scores.

    Raises:
        HfpruneError: even one sequence does not fit into memory.
    """
    import torch
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    from hfprune.scoring.score import score

    length = 1 if blocks is None else blocks.shape[1]
    most = sequences = max(1, batch_tokens // length)
    if model.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(model.device)
        # What the allocator keeps, but has handed to nobody.
        free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        settings["sums_room"] = SUMS_SHARE * memory
        shape, dtype = Shape.of_config(model.config.to_dict()), str(model.dtype).removeprefix("torch.")
        # Of weights that lie elsewhere, none is in the way.
        room = free + shape.weights(dtype)
        sequences = ScoringCost(shape, criteria, units, dtype, room).fitting(length, batch_tokens)
        if sequences < most:
            print(f"memory holds {sequences * length} tokens at a time", file=sys.stderr)
    while sequences:
        watch = Stopwatch()
        try:
            found = score(criteria, model, blocks, units, batch_tokens=sequences * length, **settings)
        except Exception as error:
            if not should_reduce_batch_size(error):
                raise
        else:
            return sequences * length, watch, found
        # Here, the error is gone, whose frames held tensors.
        clear_device_cache(garbage_collection=True)
        sequences //= 2
        if sequences:
            print(f"memory ran out: now {sequences * length} tokens at a time", file=sys.stderr)
    hint = "take shorter ones (`hfprune calibrate --length`)"
    raise HfpruneError(f"not even one sequence of {length} tokens fits into memory; {hint}")
