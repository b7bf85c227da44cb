"""Tokenize instruction pairs and pack them into sequences, once for all recoveries of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from hfprune.provenance import is_recorded, origin, stable
from hfprune.settings.recovery import Packing
from hfprune.stages import Inline, Output, Stage
from hfprune.stages.fields import DenseModel, Instructions, Safetensors, Seed

if TYPE_CHECKING:
    from hfprune.recovery.packing import Packed


class Pack(Stage):
    """Instruction pairs as sequences."""

    example: ClassVar = (
        "hfprune pack --model resources/models/smollm2-135m-instruct-q4 "
        "--instructions resources/instructions/coqa --length 1024 --out pairs.safetensors"
    )

    model: DenseModel
    instructions: Instructions[Path]
    packing: Annotated[Packing, Inline()] = Packing()
    seed: Seed = 0
    out: Annotated[Safetensors, Output()]

    def run(self) -> bool | None:
        """Pack the pairs, and write training and held-out sequences with their provenance."""
        from hfprune.recovery.packing import save_packed

        settings = settings_of(self.packing, self.seed, self.instructions.name)
        if is_recorded(self.out, self.sources(), settings):
            return False
        packed, held_out = pack_pairs(self.model, self.instructions, self.packing, self.seed)
        save_packed(self.out, packed, held_out, stable(origin(self.sources(), settings)))
        return True


def pack_pairs(model: Path, instructions: Path, settings: Packing, seed: int) -> "tuple[Packed, Packed]":
    """Return the packed pairs of an instructions folder: training and held-out sequences."""
    from hfprune.assets.formats import read_fetched
    from hfprune.models.load import load_tokenizer
    from hfprune.recovery.packing import hold_out, pack, recovery_seed

    seed, tokenizer = recovery_seed(seed, instructions.name), load_tokenizer(model)
    held_out, rest = hold_out(read_fetched("instructions", instructions), tokenizer, settings)
    return pack(rest, tokenizer, settings, seed=seed), held_out


def settings_of(settings: Packing, seed: int, instructions: str) -> dict[str, object]:
    """Return the settings that determine the sequences, besides the model and the pairs themselves."""
    return settings.model_dump(include={*Packing.model_fields}) | {"seed": seed, "instructions": instructions}
