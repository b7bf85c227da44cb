"""Tokenize instruction pairs for a model and pack them into sequences, once for all its recoveries."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfprune.commands.flags import DenseModel, Instructions, Safetensors, Seed
from hfprune.study.recovery import Packing

if TYPE_CHECKING:
    from hfprune.recovery.packing import Packed

EXAMPLE = (
    "hfprune pack --model resources/models/smollm2-135m-instruct-q4 "
    "--instructions resources/instructions/coqa --length 1024 --out pairs.safetensors"
)


class Config(Packing):
    """Flags of `hfprune pack`."""

    model: DenseModel
    instructions: Instructions
    seed: Seed = 0
    out: Safetensors


def run(config: Config) -> None:
    """Pack the pairs and write the sequences with their provenance."""
    from hfprune.provenance import Stopwatch, provenance, stable
    from hfprune.recovery.packing import save_packed

    watch = Stopwatch()
    packed = pack_pairs(config.model, config.instructions, config, config.seed)
    inputs = {"model": config.model, "instructions": config.instructions}
    settings = settings_of(config, config.seed, config.instructions.name)
    save_packed(config.out, packed, stable(provenance(watch, inputs, **settings)))


def pack_pairs(model: Path, instructions: Path, settings: Packing, seed: int) -> "Packed":
    """Pack the pairs of an instructions folder for the tokenizer of a model folder; `seed` is the study's."""
    from hfprune.assets import read_instructions
    from hfprune.models.load import load_tokenizer
    from hfprune.recovery.packing import pack, recovery_seed

    seed = recovery_seed(seed, instructions.name)
    return pack(read_instructions(instructions), load_tokenizer(model), settings, seed=seed)


def settings_of(settings: Packing, seed: int, instructions: str) -> dict[str, Any]:
    """Return what decides about the sequences, besides the model and the pairs themselves."""
    own = settings.model_dump(include=set(Packing.model_fields))
    return own | {"seed": seed, "instructions": instructions}
