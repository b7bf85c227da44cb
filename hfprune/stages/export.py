"""Write a pruned or recovered model as a folder of safetensors that other programs load."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt

from hfprune.exports.export_folder import PROVENANCE, require_replaceable
from hfprune.files import read_json
from hfprune.provenance import origin, stable
from hfprune.settings import Placement
from hfprune.stages import Stage
from hfprune.stages.target import Pruned


class Export(Stage, Pruned, Placement):
    """A model as a folder that other programs load."""

    example: ClassVar = (
        "hfprune export --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors "
        "--out pruned"
    )

    align: PositiveInt = Field(
        default=1,
        description="pad every width with zeros to a multiple of this, e.g. 256 for llama.cpp's K-quants; "
        "a plan whose allocation has the same align needs no padding",
    )
    plain: bool = Field(
        default=False,
        description="for other engines (docs/exports.md): pad layers of unequal widths with zeros to the widest",
    )
    gguf: bool = Field(
        default=False,
        description="also write model.gguf for llama.cpp, with layers of unequal widths (docs/exports.md)",
    )
    command: str | None = Field(
        default=None,
        description="command that reproduces the model, for its card (none)",
    )
    out: Path = Field(description="folder to write: the model, its card, its provenance and the plan")

    def run(self) -> bool | None:
        """Load and export the model, and print its size."""
        self.require_change()

        from hfprune.exports.checkpoint import export
        from hfprune.models.shape import own_sizes
        from hfprune.models.units import count_parameters

        require_replaceable(self.out, self.model)
        inputs = {"model": self.model} | self.change_inputs()
        chosen = self.model_dump(include={"dtype", "align", "plain"})
        chosen |= self.model_dump(include={"gguf", "command"}, exclude_defaults=True)
        run = stable(origin(inputs, chosen))
        record = self.out / PROVENANCE
        if record.is_file() and read_json(record) | run == read_json(record):
            return False
        model = self.load(device_map=self.device_map)
        shape = {"plain": self.plain, "gguf": self.gguf}
        written = export(model, self.model, self.out, run, align=self.align, plan=self.plan, **shape)
        left = count_parameters(model)
        padding = f", {written - left:,} of them zeros that pad narrower layers" if written > left else ""
        compact = own_sizes(read_json(self.out / "config.json"))
        how = "; its layers differ in size: `hfprune.load`, or the function in its card, loads it"
        print(f"export: {self.out} has {written:,} parameters{padding}{how if compact else ''}")
        return True
