"""Recovery: low-rank adapters (LoRA) for a pruned model, trained on instruction pairs.

peft provides the adapters, and the Trainer of transformers trains them. The defaults are the official script's;
docs/recovery.md lists the differences.
"""

import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import StackDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from hfprune.devices.lease import default_device
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.recovery.distilling import Distiller
from hfprune.recovery.held_out import Curve, check_finite, curve_of, needed, trained
from hfprune.recovery.packing import Packed
from hfprune.settings.recovery import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Seconds of work that a kill may lose.
SAVE_SECONDS = 60
# The adapter of the best step so far, beside the checkpoints.
BEST = "best.safetensors"


class Course(NamedTuple):
    """The losses of a training, step by step."""

    losses: list[float]
    """The loss of each optimizer step, in nats per response token."""
    curve: dict[int, list[float]]
    """Step of `measured_steps` → mean loss of each held-out sequence after it, in nats per response token; empty
    without held-out sequences."""


def train_adapter(
    model: "PreTrainedModel",
    packed: Packed,
    settings: Lora,
    *,
    seed: int,
    batch_tokens: int,
    state: Path,
    held_out: Packed | None = None,
    teacher: "PreTrainedModel | None" = None,
) -> tuple[PeftModel, Course]:
    """Train LoRA adapters on a frozen model, and insert them into it in place.

    The optimizer is AdamW, with gradients clipped to norm 1. A killed run resumes from its last checkpoint
    and gives the same adapter. With `keep: best`, the adapter is that of the measured step with the least held-out
    loss; that of step 0 changes nothing. When memory runs out, the batch of a forward pass is halved, not the
    batch of a step.

    Args:
        model: from `load_model`, pruned or dense. The computation has its dtype; adapters are float32.
        packed: sequences to train on.
        settings: adapter and training settings.
        seed: seed of the adapters' initial weights, the order of the sequences and dropout.
        batch_tokens: most tokens of one forward pass; an optimizer step has `settings.batch` sequences.
        state: folder of checkpoints of the same run: the same model, pairs, settings and seed.
        held_out: sequences to measure, without effect on the training; None: none.
        teacher: the dense model, for the loss `kl`; None: cross-entropy.

    Returns:
        The model with its adapters, and its losses.

    Raises:
        HfpruneError: the loss is not finite, not even one sequence fits into memory, the model is float16 on a
            CPU, or `keep` is best and nothing is held out.
    """
    if settings.keep == "best" and not (held_out and len(held_out.tokens)):
        raise HfpruneError("keep: best needs held-out sequences; give pairs of which a tenth fills one")
    if model.dtype == torch.float16 and model.device.type == "cpu":
        raise HfpruneError("float16 trains on a GPU only; choose bfloat16 or float32")
    adapted = with_adapters(model, settings, seed)
    first, best = trained(adapted), state / BEST if settings.keep == "best" else None
    length = packed.tokens.shape[1]
    fitting = min(settings.batch, max(1, batch_tokens // length))
    while fitting:
        # A divisor, so that every forward pass of a step has the same number of sequences.
        size = next(n for n in range(fitting, 0, -1) if settings.batch % n == 0)
        curve = [Curve(held_out, size, teacher, best)] if held_out and len(held_out.tokens) else []
        arguments = _arguments(model, settings, seed, size, state)
        course = _train(adapted, packed, arguments, curve, teacher)
        if course is not None:
            if best:
                adapted.load_state_dict(load_file(best), strict=False)
            return adapted, course
        fitting = size // 2
        adapted.load_state_dict(first, strict=False)
        adapted.zero_grad()
        clear_device_cache(garbage_collection=True)
        if fitting:
            print(f"memory ran out with {size * length} tokens at a time: now half as many", file=sys.stderr)
    raise HfpruneError(
        f"not even one sequence of {length} tokens fits into memory; choose a shorter length or a larger GPU"
    )


def with_adapters(model: "PreTrainedModel", settings: Lora, seed: int) -> PeftModel:
    """Insert adapters into a model in place; the seed draws their initial weights, which change no output."""
    set_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _train(
    adapted: PeftModel,
    packed: Packed,
    arguments: TrainingArguments,
    curve: list[Curve],
    teacher: "PreTrainedModel | None",
) -> Course | None:
    """Train from the last checkpoint to the end; return the losses, or None if memory runs out."""
    kind = partial(Distiller, teacher) if teacher else Trainer
    trainer = kind(
        model=adapted,
        args=arguments,
        train_dataset=StackDataset(**vars(packed)),  # type: ignore[arg-type]
        data_collator=_collate,
        callbacks=[*curve, _Watch()],
    )
    trainer.remove_callback(PrinterCallback)  # prints every step; _Watch prints a hundred of them
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(Path(str(arguments.output_dir))))
    except Exception as error:
        if not should_reduce_batch_size(error):
            raise
        return None
    log = trainer.state.log_history
    return Course([entry["loss"] for entry in log if "loss" in entry], curve_of(log))


def _collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack sequences into the inputs and labels of a batch.

    There is no attention mask: if the model keeps no cache, as under the Trainer, transformers derives the mask
    from `position_ids`, so that no token attends to tokens before a restart of the positions.
    """
    inputs, targets = needed(*(torch.stack([row[name] for row in rows]).long() for name in rows[0]))
    return inputs | {"labels": targets, "shift_labels": targets}


def _arguments(
    model: "PreTrainedModel", settings: Lora, seed: int, size: int, state: Path
) -> TrainingArguments:
    """Translate the settings; a forward pass has `size` sequences, a divisor of the batch of a step."""
    return _Arguments(
        output_dir=str(state),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=settings.batch // size,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        bf16=model.dtype == torch.bfloat16,
        fp16=model.dtype == torch.float16,
        use_cpu=model.device.type == "cpu",
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,  # the Trainer would drop all: PeftModel.forward names no columns
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # _Watch saves by time instead
        save_total_limit=1,
        accelerator_config={"non_blocking": True},  # pinned batches reach a GPU while it computes
        report_to="none",
        disable_tqdm=True,
    )


class _Arguments(TrainingArguments):
    """Keeps the Trainer on the device of this process; by default it copies the model to all visible GPUs."""

    @property
    def device(self) -> torch.device:
        first = super().device  # also sets up other state, and selects the first GPU
        if first.type != "cuda":
            return first
        torch.cuda.set_device(default_device())
        return default_device()

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


class _Watch(TrainerCallback):
    """Saves once a minute, prints every hundredth of the steps, and stops at a loss that is not finite."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            control.should_save = True
            self.saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" not in kwargs["logs"]:
            return  # the summary of the whole training
        step, loss = state.global_step, kwargs["logs"]["loss"]
        if step % max(1, state.max_steps // 100) == 0:
            print(f"step {step} of {state.max_steps}: loss {loss:.4f}", file=sys.stderr, flush=True)
        check_finite(loss, step)


def _last_checkpoint(state: Path) -> str | None:
    written = [*state.glob("checkpoint-*/trainer_state.json")]  # the Trainer writes it last
    for path in sorted(written, key=lambda path: -int(path.parent.name.rpartition("-")[2])):
        with suppress(OSError, ValueError):
            read_json(path)
            return str(path.parent)
    return None
