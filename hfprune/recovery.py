"""Recovery: low-rank adapters (LoRA) for a pruned model, trained on instruction pairs.

peft holds the adapters and the Trainer of transformers trains them. Pairs are packed plainly, as in the official
script: they are joined end to end and cut into sequences of equal length, attention does not stop where a pair
ends, and a pair may run on in the next sequence. Loss is taken on responses only.
"""

import math
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.utils.data import StackDataset
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from hfprune.calibration import derive_seed
from hfprune.device import default_device
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.layout import ADAPTER, ADAPTER_CONFIG, RECOVERED
from hfprune.provenance import identity
from hfprune.study import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# How much work a kill may cost.
SAVE_SECONDS = 60
# What the models of transformers leave out of the loss.
IGNORED = -100
# The Alpaca prompt, with and without further input.
PROMPT = (
    "Below is an instruction that describes a task{more}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
MORE = ", paired with an input that provides further context"


@dataclass(frozen=True)
class Packed:
    """Packed sequences: `tokens` and `labels`, int32 [sequences, length]; `labels` ignores all but responses."""

    tokens: Tensor
    labels: Tensor


def recovery_seed(seed: int, instructions: str) -> int:
    """Return the seed of everything random in a recovery, from the study's seed; fits NumPy's 32 bits.

    The same for all models, methods and ratios, so that they start from the same adapters, and see the same pairs
    in the same order.
    """
    return derive_seed(seed, "recovery", instructions) % 2**32


def prompt(pair: dict[str, str]) -> str:
    """Return the Alpaca prompt of a pair, up to where the response begins."""
    context = f"### Input:\n{pair['input']}\n\n" if pair["input"] else ""
    return PROMPT.format(more=MORE if context else "", instruction=pair["instruction"], input=context)


def pack(
    pairs: pa.Table, tokenizer: "PreTrainedTokenizerBase", length: int, examples: int | None, seed: int
) -> Packed:
    """Join pairs in a seeded random order and cut them into sequences.

    A pair is the prompt with the tokenizer's default special tokens (BOS), the response and EOS. What is left at
    the end is dropped, and so are sequences without a response, which teach nothing.

    Args:
        pairs: `instruction`, `input`, `output`.
        tokenizer: of the model.
        length: tokens per sequence.
        examples: at most this many pairs; None takes all.
        seed: of the order.

    Raises:
        HfpruneError: the pairs do not fill one sequence.
    """
    order = Random(seed).sample(range(len(pairs)), min(examples or len(pairs), len(pairs)))
    tokens, labels = array("i"), array("i")
    for question, answer in _tokenized(pairs, order, tokenizer):
        tokens.extend(question + answer)
        labels.extend([IGNORED] * len(question) + answer)
    count = len(tokens) // length
    packed = [
        torch.from_numpy(np.array(x[: count * length], np.int32)).view(-1, length) for x in (tokens, labels)
    ]
    kept = (packed[1][:, 1:] != IGNORED).any(1)  # a sequence's first token is never predicted
    if not kept.any():
        raise HfpruneError(
            f"{len(order)} instruction pairs of {len(tokens)} tokens fill no sequence of {length} tokens that "
            "holds a response; choose more examples or a shorter length"
        )
    return Packed(packed[0][kept], packed[1][kept])


def _tokenized(
    pairs: pa.Table, order: list[int], tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the tokens of each pair's prompt and of its response, EOS included."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    with tqdm(total=len(order), desc="tokenize", unit="pair") as bar:
        for start in range(0, len(order), 1000):
            rows = pairs.take(order[start : start + 1000]).to_pylist()
            questions = tokenizer([prompt(row) for row in rows], verbose=False)["input_ids"]
            answers = tokenizer([row["output"] for row in rows], add_special_tokens=False, verbose=False)
            for question, answer in zip(questions, answers["input_ids"], strict=True):
                yield question, answer + end
            bar.update(len(rows))


def train_adapter(
    model: "PreTrainedModel", packed: Packed, settings: Lora, *, seed: int, batch_tokens: int, state: Path
) -> tuple[PeftModel, list[float]]:
    """Train LoRA adapters on a frozen model, which is changed in place: they are put into it.

    AdamW, gradients clipped to norm 1. A killed run goes on from its last checkpoint and comes to the same
    adapter.

    Args:
        model: from `load_model`, pruned or dense. Its dtype is that of the computation; adapters are float32.
        packed: sequences to train on.
        settings: how.
        seed: of the adapters' initial weights, the order of the sequences and dropout.
        batch_tokens: bounds the tokens of one forward pass; `settings.batch` sequences make one optimizer step.
        state: folder of the checkpoints, of this very run: model, pairs, settings and seed.

    Returns:
        The model with its adapters, and the loss in nats per response token of every optimizer step.

    Raises:
        HfpruneError: the loss is not finite, or float16 on a CPU.
    """
    if model.dtype == torch.float16 and model.device.type == "cpu":
        raise HfpruneError("float16 trains on a GPU only; choose bfloat16 or float32")
    set_seed(seed)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=list(settings.targets),
            task_type="CAUSAL_LM",
        ),
    )
    trainer = Trainer(
        model=adapted,
        args=_arguments(model, settings, seed, batch_tokens // packed.tokens.shape[1], state),
        train_dataset=StackDataset(input_ids=packed.tokens, labels=packed.labels),  # type: ignore[arg-type]
        data_collator=_collate,
        callbacks=[_Watch()],
    )
    trainer.train(resume_from_checkpoint=_last_checkpoint(state))
    return adapted, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _arguments(
    model: "PreTrainedModel", settings: Lora, seed: int, fitting: int, state: Path
) -> TrainingArguments:
    """Translate the settings; a forward pass takes `fitting` sequences, or the next lower divisor of a batch."""
    size = next(n for n in range(max(1, min(fitting, settings.batch)), 0, -1) if settings.batch % n == 0)
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
        remove_unused_columns=False,  # what it would keep is told by the forward pass of PeftModel
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # by the clock instead, see _Watch
        save_total_limit=1,
        report_to="none",
    )


class _Arguments(TrainingArguments):
    """Keeps the Trainer on the device of this process; by itself it would copy the model to every GPU in sight."""

    @property
    def device(self) -> torch.device:
        """The CPU, or the leased GPU."""
        first = super().device  # sets up more than this, and makes the first GPU the current one
        if first.type != "cuda":
            return first
        torch.cuda.set_device(default_device())
        return default_device()

    @property
    def n_gpu(self) -> int:
        """At most one."""
        return min(1, super().n_gpu)


def _collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([row[key] for row in rows]).long() for key in ("input_ids", "labels")}


class _Watch(TrainerCallback):
    """Saves a checkpoint once a minute, and stops at a loss that is not finite."""

    def __init__(self) -> None:
        self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            control.should_save = True
            self.saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loss = kwargs["logs"].get("loss", 0)
        if not math.isfinite(loss):
            raise HfpruneError(
                f"the loss is {loss} at step {state.global_step}; "
                "choose a lower learning_rate or another dtype"
            )


def _last_checkpoint(state: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, where there is one."""
    found = sorted(state.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        try:
            read_json(path / "trainer_state.json")  # which the Trainer writes last
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def is_replaceable(folder: Path) -> bool:
    """Tell whether nothing but an earlier adapter is at `folder`, so that a new one may take its place."""
    if not folder.exists():
        return True
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {
        ADAPTER,
        ADAPTER_CONFIG,
        RECOVERED,
    }


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write an adapter into an existing folder, as peft lays it out."""
    config = cast(LoraConfig, adapted.peft_config["default"])
    config.target_modules = sorted(config.target_modules or ())  # a set, whose order changes from run to run
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / ADAPTER).chmod(0o644)  # peft leaves it readable to its owner only
    (folder / "README.md").unlink()  # a model card with nothing filled in


def merge_adapter(model: "PreTrainedModel", folder: Path, inputs: dict[str, Path]) -> "PreTrainedModel":
    """Add an adapter to the weights of the model, in its dtype, and return the plain model.

    Args:
        model: the dense model, with the plan applied if the adapter was trained on a pruned one.
        folder: as `save_adapter` writes it.
        inputs: `model` and, where there is one, `plan` or `checkpoint`: the files that `model` comes from.

    Raises:
        HfpruneError: no adapter, or one that was trained on another model, plan or checkpoint.
    """
    if not (folder / ADAPTER).is_file() or not (folder / ADAPTER_CONFIG).is_file():
        raise HfpruneError(f"{folder}: not an adapter; make one with `hfprune recover`")
    _check_origin(folder, inputs)
    try:
        merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True)
    except Exception as error:  # whatever a foreign or damaged adapter makes peft raise
        reason = " ".join(str(error).split())[:300]
        raise HfpruneError(f"{folder}: the adapter does not fit the model ({reason})") from error
    return merged.eval().requires_grad_(False)


def _check_origin(folder: Path, inputs: dict[str, Path]) -> None:
    """Fail where the adapter's own record names other inputs: other plans can have the same shapes."""
    if not (folder / RECOVERED).is_file():
        return  # of another's making, with no record
    made = read_json(folder / RECOVERED)["provenance"]["inputs"]
    for role in ("model", "plan", "checkpoint"):
        now = identity(inputs[role]) if role in inputs else None
        if made.get(role) != now:
            wanted = f"another {role}" if role in made else f"the model without a {role}"
            raise HfpruneError(f"{folder}: this adapter was trained on {wanted}; give what it was trained on")
