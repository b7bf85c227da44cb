"""Write a pruned or recovered model as a checkpoint that plain `from_pretrained` loads."""

from pathlib import Path

from pydantic import Field

from hfprune.commands.target import Pruned

EXAMPLE = (
    "hfprune export --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors --out pruned"
)


class Config(Pruned):
    """Flags of `hfprune export`."""

    out: Path = Field(description="folder of the checkpoint")


def run(config: Config) -> None:
    """Load and export the model, and print its size."""
    config.require_change()

    from hfprune.models.export import export
    from hfprune.models.units import count_parameters
    from hfprune.provenance import Stopwatch, provenance, stable

    watch = Stopwatch()
    model = config.load()
    inputs = {"model": config.model} | config.change_inputs()
    made = stable(provenance(watch, inputs, dtype=config.dtype))
    written = export(model, config.model, config.out, made)
    padding = written - count_parameters(model)
    text = f", {padding:,} of them zeros that pad narrower layers to the widest" if padding else ""
    print(f"export: {config.out} has {written:,} parameters{text}")
