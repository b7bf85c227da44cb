"""Score every unit of a model by one or more criteria."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hfprune.calibration.sizes import most_open
from hfprune.cells import Cell, Value, write_result
from hfprune.errors import HfpruneError
from hfprune.files import require_writable
from hfprune.models.shape import Shape
from hfprune.provenance import fingerprint, is_current, provenance, recorded, stable
from hfprune.runs import Provenance, Stopwatch
from hfprune.scoring.fitting import ScoringCost, require_by_layer
from hfprune.scoring.passes import SUMS_SHARE
from hfprune.settings import Placement
from hfprune.stages import Stage
from hfprune.stages.fields import (
    BatchTokens,
    CellName,
    Computing,
    DenseModel,
    Safetensors,
)
from hfprune.stages.scoring_flags import ScoredMethods
from hfprune.stages.target import cell_of
from hfprune.study.paths import RESAMPLED

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.criteria import Criterion
    from hfprune.plans.planning import Plan
    from hfprune.scoring.score import BySample, Scored
    from hfprune.scoring.score_files import Scores


class Score(Stage, ScoredMethods, Computing, Placement):
    """The scores of every unit of a model, by one criterion or by several that share passes."""

    example: ClassVar = (
        "hfprune score --model resources/models/smollm2-135m-instruct-q4 --blocks blocks.safetensors "
        "--criterion entropy --out scores.safetensors"
    )
    work: ClassVar = "machine"

    model: DenseModel
    batch_tokens: BatchTokens = None
    cell: CellName = None
    out: Safetensors = Field(
        description="file of the scores. Agreement and cost go to .json beside it, scores of resampled "
        "calibrations to .resampled.safetensors. For several results, use {method}, "
        "{sequences} or {draw} in the name"
    )

    def outputs(self) -> list[Path]:
        """Return the files of the scores of every method, size and draw, and their records."""
        return [
            file
            for sample in self.scorings()
            for file in (*self.files(*sample), self.file_of(*sample).with_suffix(".json"))
        ]

    def named_cells(self) -> list[Cell]:
        """Return a cell for every method, size and draw."""
        cells = super().named_cells() if self.methods else []
        return [self._cell_of(cell, *sample) for cell in cells for sample in self.scorings()]

    @staticmethod
    def _cell_of(cell: Cell, method: str, size: int, draw: int) -> Cell:
        return replace(cell, method=method, sequences=size or cell.sequences, draw=draw)

    def file_of(self, method: str, size: int, draw: int) -> Path:
        """Return the file of the scores by one method from one draw of a size."""
        named = str(self.out).replace("{method}", method)
        return Path(named.replace("{sequences}", str(size)).replace("{draw}", str(draw)))

    def files(self, method: str, size: int, draw: int) -> list[Path]:
        """Return the file of such scores and, if asked for, the file of the resampled ones."""
        file = self.file_of(method, size, draw)
        return [file, file.with_suffix(RESAMPLED)] if self.resamples else [file]

    def run(self) -> bool | None:
        """Score by all methods without current scores, and write the scores of each."""
        methods = self.criteria()
        samples = self.scorings()
        for part, place in enumerate(("{method}", "{sequences}", "{draw}")):
            if len({sample[part] for sample in samples}) > 1 and place not in str(self.out):
                raise HfpruneError(f"--out must contain {place} when there are several")

        from hfprune.models.load import default_batch_tokens
        from hfprune.plans.planning import load_plan

        # Fixed here and recorded, since results depend on it slightly in low precision.
        batch_tokens = self.batch_tokens or default_batch_tokens()
        blocks, plan = self.tokens(self.sequences), load_plan(self.plan) if self.plan else {}
        if self.device_map == "disk":
            by_method = {method: criterion for method, (_, criterion) in methods.items()}
            length = 1 if blocks is None else blocks.shape[1]
            require_by_layer(by_method, self.model, [*self.units], self.dtype, length)
        count = 0 if blocks is None else len(blocks)
        ranges = {sample: self.sample(*sample[1:], count) for sample in samples}
        origins = {
            sample: self._origin(*methods[sample[0]], sample, len(blocks_read), batch_tokens)
            for sample, blocks_read in ranges.items()
        }
        todo = [
            sample
            for sample, about in origins.items()
            if not is_current(self.file_of(*sample).with_suffix(".json"), self.files(*sample), *about)
        ]
        for sample in [sample for sample in origins if sample not in todo]:
            print(f"score: {self.file_of(*sample)} is already there", file=sys.stderr)
        if not todo:
            return False
        read: dict[str, list[range]] = {}
        for sample in todo:
            require_writable(self.file_of(*sample))  # before the sweep, which may take hours
            read.setdefault(sample[0], []).append(ranges[sample])
        # A killed run leaves its sums here, and the same call resumes from them.
        joined = "+".join(methods)
        short = joined if len(joined) < 64 else hashlib.sha256(joined.encode()).hexdigest()[:16]
        state = self.file_of(short, 0, self.seed).with_suffix(".state")
        model, whole = self._load(plan)
        tokens, watch, scores = score_as_fits(
            {name: methods[name][1] for name in read},
            model,
            blocks,
            [*self.units],
            read,
            batch_tokens,
            seed=self.seed,
            documents=self.documents(self.sequences),
            resamples={ranges[sample]: self.resamples_of(sample[1]) for sample in todo},
            state=state,
            identity="".join(fingerprint(*origins[sample]) for sample in todo),
        )
        for sample in todo:
            name, size, _ = sample
            scored = scores[name][ranges[sample]]
            self._warn(name, size, methods[name][1], scored)
            inputs, settings = origins[sample]
            run = provenance(watch, inputs, **settings) | {
                "curve": scored.curve,
                "batch_tokens_that_fitted": tokens,
                "drawn": self.drawn(),
            }
            self._write(sample, scored, whole, run)
        shutil.rmtree(state, ignore_errors=True)
        return True

    def _origin(
        self,
        criterion_name: str,
        criterion: "Criterion",
        sample: tuple[str, int, int],
        blocks: int,
        batch_tokens: int,
    ) -> tuple[dict[str, Path], dict[str, object]]:
        """Return the inputs of the scores from a draw of `blocks` blocks, and the settings that they depend on."""
        inputs = {"model": self.model, **({"plan": self.plan} if self.plan else {})}
        settings = self.scoring_settings(criterion_name, criterion)
        settings |= {"dtype": self.dtype, "batch_tokens": batch_tokens, "blocks": blocks}
        if self.sizes:
            settings["sample"] = sample[2] - self.seed
        if self.plan:  # another tool's plan counts as one step
            settings["steps"] = 1 + recorded(self.plan).get("settings", {}).get("scoring", {}).get("steps", 1)
        # Criteria that cannot be resampled have the same scores either way.
        if criterion.resampled and (resamples := self.resamples_of(sample[1])):
            settings["resamples"] = resamples
        return inputs | self.scoring_inputs(criterion), settings

    def _warn(self, name: str, size: int, criterion: "Criterion", scored: "Scored") -> None:
        if not self.resamples or scored.resampled or not criterion.resampled:
            return
        if self.plan:
            print(f"{name}: no resamples: another draw would have another previous plan", file=sys.stderr)
        elif self.resamples_of(size):
            print(f"{name}: no resamples, since the sequences leave one of the folds empty", file=sys.stderr)

    def _write(
        self,
        sample: tuple[str, int, int],
        scored: "Scored",
        whole: "Callable[[Scores], Scores]",
        run: Provenance,
    ) -> None:
        from hfprune.scoring.score_files import save_resampled, save_scores

        out, *resampled = self.files(*sample)
        out.with_suffix(".json").unlink(missing_ok=True)  # it describes the scores that are replaced now
        for path in resampled:
            save_resampled(path, scored.resampled, stable(run))
        about = stable(run) | {"curve": scored.curve, "drawn": run["drawn"]}
        save_scores(out, whole(scored.scores), about, removed=bool(self.plan))
        values = []
        if scored.curve:
            last = scored.curve[-1]
            values = [Value("sequences", last["sequences"]), Value("agreement", last["agreement"])]
        # With several methods, sizes and draws, each has its own cell.
        cell = self.cell and self._cell_of(self.cell, *sample)
        named = cell_of(cell, self.model, sample[0], draw=sample[2])
        write_result(out.with_suffix(".json"), named, "cost", "", values, run)

    def _load(self, plan: "Plan") -> "tuple[PreTrainedModel, Callable[[Scores], Scores]]":
        """Return the model pruned by the plan, and a function from its scores to the dense model's."""
        from hfprune.models.load import load_model
        from hfprune.models.units import units_of
        from hfprune.plans.planning import apply_plan, scores_of_dense

        model = load_model(self.model, self.dtype, device_map=self.device_map)
        counts = {name: units.count for name, units in units_of(model, self.units).items()}
        if plan:
            apply_plan(model, plan)
        return model, lambda scores: scores_of_dense(scores, plan, counts) if plan else scores


def score_as_fits(
    criteria: "dict[str, Criterion]",
    model: "PreTrainedModel",
    blocks: "Tensor | None",
    units: list[str],
    samples: dict[str, list[range]],
    batch_tokens: int,
    **settings: Any,
) -> "tuple[int, Stopwatch, dict[str, BySample]]":
    """Score in batches as large as memory holds; return the tokens of a batch, the cost and the scores.

    Raises:
        HfpruneError: even one sequence does not fit into memory.
    """
    import torch
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    from hfprune.scoring.score import score_samples

    length = 1 if blocks is None else blocks.shape[1]
    most = sequences = max(1, batch_tokens // length)
    if model.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(model.device)
        # Memory that the allocator has reserved and not handed out.
        free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        settings["sums_room"] = SUMS_SHARE * memory
        shape, dtype = Shape.of_config(model.config.to_dict()), str(model.dtype).removeprefix("torch.")
        # Of weights that lie elsewhere, none is in the way.
        room = free + shape.weights(dtype)
        at_a_time = max(map(most_open, samples.values()))
        sequences = ScoringCost(shape, criteria, units, dtype, room, at_a_time).fitting(length, batch_tokens)
        if sequences < most:
            print(f"memory holds {sequences * length} tokens at a time", file=sys.stderr)
    while sequences:
        watch = Stopwatch()
        try:
            settings["batch_tokens"] = sequences * length
            scores = score_samples(criteria, model, blocks, units, samples, **settings)
        except Exception as error:
            if not should_reduce_batch_size(error):
                raise
        else:
            return sequences * length, watch, scores
        # By now the error, whose frames held tensors, is gone.
        clear_device_cache(garbage_collection=True)
        sequences //= 2
        if sequences:
            print(f"memory ran out: now {sequences * length} tokens at a time", file=sys.stderr)
    hint = "take shorter ones (`hfprune calibrate --length`)"
    raise HfpruneError(f"not even one sequence of {length} tokens fits into memory; {hint}")
