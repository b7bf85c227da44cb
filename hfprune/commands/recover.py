"""Train a LoRA adapter for a pruned model on instruction pairs; a killed run resumes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hfprune.commands.flags import BatchTokens, CellName, ComputeDtype, Seed
from hfprune.commands.target import Cut, cell_of, load_subject
from hfprune.errors import HfpruneError
from hfprune.settings import validate
from hfprune.study.study import Lora

if TYPE_CHECKING:
    from hfprune.results import Cell, Value

EXAMPLE = (
    "hfprune recover --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
    """--instructions resources/instructions/coqa --options '{"batch": 4, "length": 1024}' --out adapter"""
)


class Config(Cut):
    """Flags of `hfprune recover`."""

    instructions: Path = Field(description="fetched instructions folder")
    options: dict[str, Any] = Field(
        default={}, description="settings of a study's recovery section, as JSON (the official script's)"
    )
    batch_tokens: BatchTokens = None
    seed: Seed = 0
    dtype: ComputeDtype = None
    cell: CellName = None
    out: Path = Field(description="folder of the adapter and its losses")


def run(config: Config) -> None:
    """Load model and pairs, train, and write the adapter with its losses and cost."""
    lora = validate(Lora, config.options, "--options")

    from hfprune.assets import read_instructions
    from hfprune.files import atomic_directory
    from hfprune.models.load import default_training_tokens, load_tokenizer
    from hfprune.plans.plan import plan_note
    from hfprune.provenance import Stopwatch, fingerprint, provenance
    from hfprune.recovery.adapter import is_replaceable, save_adapter
    from hfprune.recovery.lora import train_adapter
    from hfprune.recovery.packing import pack, recovery_seed
    from hfprune.results import write_result
    from hfprune.study.layout import RECOVERED

    if not is_replaceable(config.out):
        raise HfpruneError(f"{config.out}: exists and is no earlier adapter; choose another folder")
    batch_tokens = config.batch_tokens or default_training_tokens()
    task = config.instructions.name
    watch = Stopwatch()
    inputs = {"model": config.model, "instructions": config.instructions} | config.cut_inputs()
    settings = config.model_dump(include={"seed", "dtype"}) | {"batch_tokens": batch_tokens}
    settings |= lora.model_dump()
    cell = cell_of(config.cell, config.model, config.method(), seed=config.seed, recovery="lora")
    if config.plan and (note := plan_note(config.plan)):
        write_nothing(config.out, cell, task, provenance(watch, inputs, **settings), note)
        return
    seed = recovery_seed(config.seed, task)
    tokenizer = load_tokenizer(config.model)
    packed = pack(read_instructions(config.instructions), tokenizer, lora, seed=seed)
    # Each set of inputs and settings has its own folder, so a run never resumes another run's checkpoints.
    states = config.out.with_name(config.out.name + ".state")
    adapted, losses = train_adapter(
        load_subject(config, config.dtype),
        packed,
        lora,
        seed=seed,
        batch_tokens=batch_tokens,
        state=states / fingerprint(inputs, settings)[:16],
    )
    made = provenance(watch, inputs, **settings) | {"losses": losses}
    with atomic_directory(config.out) as folder:
        save_adapter(adapted, folder)
        values = training_values(losses, len(packed.tokens), made["cost"])
        write_result(folder / RECOVERED, cell, "recovery", task, values, made)
    shutil.rmtree(states, ignore_errors=True)


def write_nothing(out: Path, cell: "Cell", task: str, made: dict[str, Any], note: str) -> None:
    """Write an empty adapter for a plan that is not applicable, with the reason, so that a study goes on."""
    from safetensors.torch import save_file

    from hfprune.files import atomic_directory, write_json
    from hfprune.results import write_result
    from hfprune.study.layout import ADAPTER, ADAPTER_CONFIG, RECOVERED

    with atomic_directory(out) as folder:
        save_file({}, folder / ADAPTER)
        write_json(folder / ADAPTER_CONFIG, {})
        write_result(folder / RECOVERED, cell, "recovery", task, [], made, not_applicable=note)


def training_values(losses: list[float], sequences: int, cost: dict[str, float]) -> "list[Value]":
    """Return the values that describe a training run.

    Args:
        losses: one for each optimizer step; the first and the last tenth are averaged.
        sequences: number of packed sequences.
        cost: `seconds` and `peak_memory_bytes`.
    """
    from hfprune.results import Value

    few = max(1, len(losses) // 10)
    return [
        Value("first_loss", sum(losses[:few]) / few),
        Value("last_loss", sum(losses[-few:]) / few),
        Value("steps", len(losses)),
        Value("sequences", sequences),
        *(Value(metric, cost[metric]) for metric in ("seconds", "peak_memory_bytes")),
    ]
