"""Train a LoRA adapter for a pruned model on instruction pairs; a killed run resumes."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from hfprune.cells import Value, write_result
from hfprune.cells.items import mean_value, token_items
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory, require_only, write_json
from hfprune.provenance import fingerprint, identity, is_current, provenance
from hfprune.runs import Stopwatch
from hfprune.settings.recovery import ADAPTER, ADAPTER_CONFIG, RECOVERED, Lora
from hfprune.stages import Output, Stage
from hfprune.stages.fields import BatchTokens, CellName, Computing, ExistingPath, Instructions, Seed
from hfprune.stages.target import Cut, cell_of

if TYPE_CHECKING:
    from hfprune.recovery.packing import Packed


class Recover(Stage, Cut, Computing):
    """An adapter that recovers the losses of pruning."""

    example: ClassVar = (
        "hfprune recover --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
        """--instructions resources/instructions/coqa --options '{"batch": 4, "length": 1024}' --out adapter"""
    )
    work: ClassVar = "device"

    instructions: Instructions[Path | None] = None
    packed: ExistingPath | None = Field(
        default=None, description="instead of --instructions, pairs tokenized by `hfprune pack`"
    )
    options: Lora = Field(
        default=Lora(), description="settings of a study's recovery section, as JSON (the official script's)"
    )
    batch_tokens: BatchTokens = None
    seed: Seed = 0
    cell: CellName = None
    out: Annotated[Path, Output((ADAPTER, ADAPTER_CONFIG, RECOVERED))] = Field(
        description="folder of the adapter and its losses"
    )

    @model_validator(mode="after")
    def _instructions_or_packed(self) -> "Recover":
        if bool(self.instructions) == bool(self.packed):
            raise ValueError("give either --instructions or --packed")
        return self

    def run(self) -> bool | None:
        """Load model and pairs, train, and write the adapter with its losses and cost."""
        from safetensors.torch import save_file

        from hfprune.models.load import default_training_tokens, load_model
        from hfprune.plans.planning import plan_note
        from hfprune.recovery.adapter import save_adapter
        from hfprune.recovery.held_out import best_step, response_tokens
        from hfprune.recovery.lora import train_adapter
        from hfprune.recovery.packing import all_learnt, recovery_seed

        lora, dtype = self.options, self.dtype
        require_only(self.out, {ADAPTER, ADAPTER_CONFIG, RECOVERED})
        batch_tokens = self.batch_tokens or default_training_tokens()
        watch = Stopwatch()
        task, source, packed = self._packed_pairs()
        inputs = {"model": self.model} | source | self.cut_inputs()
        settings = {"seed": self.seed, "dtype": dtype, "batch_tokens": batch_tokens} | lora.model_dump()
        adapter = [self.out / ADAPTER, self.out / ADAPTER_CONFIG]
        if is_current(self.out / RECOVERED, adapter, inputs, settings):
            print(f"{self.out}: holds this adapter already", file=sys.stderr)
            return False
        recovery = Recovery.LINEAR_LORA if self.linear else Recovery.LORA
        cell = cell_of(self.cell, self.model, self.method(), draw=self.seed, recovery=recovery)
        if self.plan and (note := plan_note(self.plan)):
            run = provenance(watch, inputs, **settings)
            with atomic_directory(self.out) as folder:  # an empty adapter, so that the study continues
                save_file({}, folder / ADAPTER)
                write_json(folder / ADAPTER_CONFIG, {})
                write_result(folder / RECOVERED, cell, "recovery", task, [], run, not_applicable=note)
            return True
        seed = recovery_seed(self.seed, task)
        pairs, held_out = packed()
        if lora.max_steps and (epochs := lora.max_steps * lora.batch / len(pairs.tokens)) > 1:
            print(f"the pairs fill {len(pairs.tokens)} sequences, read {epochs:.1f} times", file=sys.stderr)
        teacher = None
        if lora.loss == "kl":
            pairs, held_out, teacher = all_learnt(pairs), all_learnt(held_out), load_model(self.model, dtype)
        # Each set of inputs and settings has its own folder, so a run never resumes another run's checkpoints.
        states = self.out.with_name(self.out.name + ".state")
        adapted, course = train_adapter(
            self.load(dtype),
            pairs,
            lora,
            seed=seed,
            batch_tokens=batch_tokens,
            state=states / fingerprint(inputs, settings)[:16],
            held_out=held_out,
            teacher=teacher,
        )
        sequences, tokens = len(pairs.tokens), response_tokens(held_out)
        run = provenance(watch, inputs, **settings)
        run |= {"losses": course.losses, "held_out_tokens": tokens, "curve": []}
        for step, losses in course.curve.items():
            loss = mean_value("loss", token_items(losses, tokens))
            point = {"step": step, "tokens": lora.trained_tokens(step, sequences), "losses": losses}
            run["curve"].append(point | {"loss": loss.value, "stderr": loss.stderr})
        few = max(1, len(course.losses) // 10)
        values = [
            Value("first_loss", sum(course.losses[:few]) / few),
            Value("last_loss", sum(course.losses[-few:]) / few),
            Value("steps", len(course.losses)),
            Value("sequences", sequences),
            *(Value(metric, run["cost"][metric]) for metric in ("seconds", "peak_memory_bytes")),
        ]
        if lora.keep == "best":
            values.append(Value("kept_step", kept := best_step(course.curve, tokens)[0]))
            note = "" if kept else ": no training was better, and the adapter changes nothing"
            print(f"kept step {kept} of {len(course.losses)}{note}", file=sys.stderr)
        with atomic_directory(self.out) as folder:
            save_adapter(adapted, folder)
            write_result(folder / RECOVERED, cell, "recovery", task, values, run)
        shutil.rmtree(states, ignore_errors=True)
        return True

    def _packed_pairs(self) -> "tuple[str, dict[str, Path], Callable[[], tuple[Packed, Packed]]]":
        """Return the name of the instructions, their path by role, and a function that reads the packed pairs."""
        from hfprune.recovery.packing import load_packed
        from hfprune.stages.pack import pack_pairs, settings_of

        if self.instructions:
            read = partial(pack_pairs, self.model, self.instructions, self.options, self.seed)
            return self.instructions.name, {"instructions": self.instructions}, read
        assert self.packed
        packed, held_out, run = load_packed(self.packed)
        task = run["settings"]["instructions"]
        wanted = settings_of(self.options, self.seed, task)
        if run["settings"] != wanted or run["inputs"]["model"] != identity(self.model):
            differs = [key for key in wanted if run["settings"].get(key) != wanted[key]] or ["model"]
            raise HfpruneError(f"{self.packed}: packed with another {differs[0]}; run `hfprune pack` again")
        return task, {"packed": self.packed}, lambda: (packed, held_out)
