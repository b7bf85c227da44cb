"""Recovery: low-rank adapters (LoRA) for a pruned model, trained on instruction pairs.

peft provides the adapters, and the Trainer of transformers trains them. The defaults are the official script's;
docs/recovery.md lists the differences.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from accelerate.utils.operations import broadcast
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, StackDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from hfprune.devices.lease import default_device
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.recovery.layer import Adapted
from hfprune.recovery.learning import KEY, Curve, check_finite, needed
from hfprune.recovery.packing import IGNORED, Packed
from hfprune.recovery.settings import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Seconds of work that a kill may lose.
SAVE_SECONDS = 60


class Course(NamedTuple):
    """The course of a training."""

    losses: list[float]
    """The loss of each optimizer step, in nats per response token."""
    curve: dict[int, list[float]]
    """Step of `measured_steps` → the mean loss of each held-out sequence after it, in nats a response token; empty
    if there is no such sequence."""


def train_adapter(
    model: "PreTrainedModel",
    packed: Packed,
    settings: Lora,
    *,
    seed: int,
    batch_tokens: int,
    state: Path,
    held_out: Packed | None = None,
) -> tuple[PeftModel, Course]:
    """Train LoRA adapters on a frozen model, and insert them into it in place.

    The optimizer is AdamW, with gradients clipped to norm 1. A killed run resumes from its last checkpoint
    and gives the same adapter. When memory runs out, half as many sequences go through the model at a time, and
    a step still has as many.

    Several processes that `accelerate launch` has started share every step: the same sequences in the same
    order as in one process, and without dropout the same losses and adapter, up to rounding.

    Args:
        model: from `load_model`, pruned or dense. The computation has its dtype; adapters are float32.
        packed: sequences to train on.
        settings: adapter and training settings.
        seed: seed of the adapters' initial weights, the order of the sequences and dropout.
        batch_tokens: maximum of tokens in one forward pass; `settings.batch` sequences make one optimizer
            step.
        state: folder of checkpoints of the same run: the same model, pairs, settings and seed.
        held_out: sequences to measure, which changes nothing in the training; None: none.

    Returns:
        The model with its adapters, and its losses.

    Raises:
        HfpruneError: the loss is not finite, not even one sequence fits into memory, or the model is float16 on
            a CPU; of several processes, one has too little memory, or they cannot share a step evenly.
    """
    if model.dtype == torch.float16 and model.device.type == "cpu":
        raise HfpruneError("float16 trains on a GPU only; choose bfloat16 or float32")
    processes = PartialState(cpu=model.device.type == "cpu").num_processes
    share = settings.share(processes)
    adapted = with_adapters(model, settings, seed)
    first = {name: p.detach().cpu().clone() for name, p in adapted.named_parameters() if p.requires_grad}
    length = packed.tokens.shape[1]
    fitting = min(share, max(1, batch_tokens // length))
    while fitting:
        # A divisor of the share, so that every forward pass of a step has the same number of sequences.
        size = next(n for n in range(fitting, 0, -1) if share % n == 0)
        curve = [Curve(held_out, size)] if held_out and len(held_out.tokens) else []
        course = _train(adapted, packed, _arguments(model, settings, seed, size, state), curve)
        if course is not None:
            return adapted, course
        fitting = size // 2
        if fitting and processes > 1:
            # The others wait for this one's gradients, so it cannot go back alone.
            raise HfpruneError(
                f"memory ran out with {size * length} tokens at a time in one of {processes} processes; "
                f"give --batch-tokens {fitting * length} (in a study: batch_tokens of the recovery)"
            )
        adapted.load_state_dict(first, strict=False)
        adapted.zero_grad()
        clear_device_cache(garbage_collection=True)
        if fitting:
            print(f"memory ran out with {size * length} tokens at a time: now half as many", file=sys.stderr)
    raise HfpruneError(
        f"not even one sequence of {length} tokens fits into memory; choose a shorter length or a larger GPU"
    )


def with_adapters(model: "PreTrainedModel", settings: Lora, seed: int) -> PeftModel:
    """Insert adapters into a model in place, which change nothing yet; the seed draws their first weights."""
    set_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    config._register_custom_module({nn.Linear: Adapted})
    return get_peft_model(model, config)


def _train(
    adapted: PeftModel, packed: Packed, arguments: TrainingArguments, curve: list[Curve]
) -> Course | None:
    """Train from the last checkpoint to the end; return the losses, or None if memory runs out."""
    columns = {"tokens": packed.tokens, "labels": packed.labels, "positions": packed.positions}
    if arguments.world_size > 1:  # one more, without a response, fills up the last step
        columns = {name: torch.cat([column, column[:1]]) for name, column in columns.items()}
        columns["labels"][-1] = IGNORED
    trainer = _Trainer(
        model=adapted,
        args=arguments,
        train_dataset=StackDataset(**columns),  # type: ignore[arg-type]
        data_collator=_collate,
        callbacks=[*curve, _Watch()],
    )
    trainer.remove_callback(PrinterCallback)  # prints every step; _Watch prints a hundred
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(Path(str(arguments.output_dir))))
    except Exception as error:
        if not should_reduce_batch_size(error):
            raise
        return None
    log: list[dict[str, Any]] = trainer.state.log_history
    return Course(
        [entry["loss"] for entry in log if "loss" in entry],
        {entry["step"]: entry[KEY] for entry in log if KEY in entry},
    )


def _collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack sequences, and ask for their loss.

    There is no attention mask: if the model keeps no cache, as under the Trainer, transformers derives one
    from `position_ids`, and no token attends to tokens before a restart of the positions.
    """
    inputs, targets = needed(*(torch.stack([row[name] for row in rows]).long() for name in rows[0]))
    return inputs | {"labels": targets, "shift_labels": targets}


def _arguments(
    model: "PreTrainedModel", settings: Lora, seed: int, size: int, state: Path
) -> TrainingArguments:
    """Translate the settings; a forward pass has `size` sequences, a divisor of this process's share."""
    group = PartialState()
    return _Arguments(
        output_dir=str(state),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=settings.batch // size // group.num_processes,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        bf16=model.dtype == torch.bfloat16,
        fp16=model.dtype == torch.float16,
        use_cpu=model.device.type == "cpu",
        seed=(seed + group.process_index) % 2**32,  # of dropout, which each process draws itself
        data_seed=seed,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,  # else it would drop all: PeftModel.forward names no columns
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


class _Trainer(Trainer):
    """Gives several processes the sequences of one, and all of them whole checkpoints."""

    def get_train_dataloader(self) -> DataLoader:
        """Return batches in the order of one process; by default, the last ones would repeat the first."""
        loader: Any = super().get_train_dataloader()
        if self.args.world_size > 1:
            rows: Any = self.train_dataset
            together = self.args.per_device_train_batch_size * self.args.world_size
            loader.set_sampler(_Shared(len(rows) - 1, together, self.args.data_seed))
        return loader

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # before the file that says that the checkpoint is complete


class _Shared:
    """The order of sequences in one process, then the empty one until their number is a multiple of `multiple`."""

    def __init__(self, count: int, multiple: int, seed: int | None) -> None:
        self.order, self.rest = SeedableRandomSampler(range(count), data_seed=seed), -count % multiple  # type: ignore[arg-type]
        self.set_epoch = self.order.set_epoch

    def __iter__(self) -> Iterator[int]:
        yield from self.order
        yield from [len(self.order)] * self.rest

    def __len__(self) -> int:
        return len(self.order) + self.rest


class _Watch(TrainerCallback):
    """Saves once a minute, prints each hundredth of the way, and stops at a loss that is not finite."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due: Any = time.monotonic() - self.saved >= SAVE_SECONDS
        if args.world_size > 1:  # the first process's clock decides for all
            due = broadcast(torch.tensor(due, device=args.device))
        if due:
            control.should_save = True
            self.saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" not in kwargs["logs"]:
            return  # the summary of the whole training
        step, loss = state.global_step, kwargs["logs"]["loss"]
        if state.is_world_process_zero and step % max(1, state.max_steps // 100) == 0:
            print(f"step {step} of {state.max_steps}: loss {loss:.4f}", file=sys.stderr, flush=True)
        check_finite(loss, step)


def _last_checkpoint(state: Path) -> str | None:
    """Return the newest complete checkpoint, if there is one."""
    found = [*state.glob("checkpoint-*/trainer_state.json")]  # the Trainer writes it last
    for path in sorted(found, key=lambda path: -int(path.parent.name.rpartition("-")[2])):
        try:
            read_json(path)
        except (OSError, ValueError):
            continue
        return str(path.parent)
    return None
