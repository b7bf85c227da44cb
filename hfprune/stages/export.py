"""Write a pruned or recovered model as a checkpoint for transformers, or as a GGUF file for llama.cpp."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from hfprune.exports import Quantization, quantized_only_gguf
from hfprune.exports.folder import require_replaceable
from hfprune.provenance import origin, stable
from hfprune.stages.target import Pruned

EXAMPLE = (
    "hfprune export --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors --out pruned\n"
    "  hfprune export --model resources/models/smollm2-135m-instruct-q4 --plan plan.safetensors --format gguf "
    "--quantize Q8_0 --align 32 --out pruned-gguf"
)


class Config(Pruned):
    """Flags of `hfprune export`."""

    format: Literal["safetensors", "gguf"] = Field(
        default="safetensors",
        description="safetensors: plain from_pretrained loads it, with all layers as wide as the widest; "
        "gguf: for llama.cpp, each layer with its own width",
    )
    quantize: Quantization | None = Field(
        default=None, description="gguf: type of the matrices (the dtype of the model)"
    )
    align: PositiveInt = Field(
        default=1,
        description="pad every width to a multiple of this with zeros: 32 for --quantize, 256 for K-quants; "
        "a plan whose allocation has the same align needs no padding",
    )
    results: Path | None = Field(
        default=None, description="folder of results of this model, for the model card (none)"
    )
    command: str | None = Field(
        default=None,
        description="for the card of a repaired model: the command that makes it again (none)",
    )
    out: Path = Field(description="folder to write: the model, its card, its provenance and the plan")

    _only_gguf = model_validator(mode="after")(quantized_only_gguf)


def run(config: Config) -> None:
    """Load and export the model, and print its size."""
    config.require_change()

    from hfprune.models.units import count_parameters

    require_replaceable(config.out, config.model)
    model = config.load()
    inputs = {"model": config.model} | config.change_inputs()
    chosen = config.model_dump(include={"dtype", "format", "quantize", "align"})
    command = {"command": config.command} if config.command else {}
    made = stable(origin(inputs, chosen | command))
    about: dict[str, Any] = {"align": config.align, "plan": config.plan, "results": config.results}
    left, text = count_parameters(model), ""
    if config.format == "gguf":
        from hfprune.exports.gguf import export_gguf

        found = export_gguf(model, config.model, config.out, made, quantize=config.quantize, **about)
        written, out = found.parameters, found.file
        if found.wide:
            text = f", {found.wide} matrices in 16 bits because their rows are not whole blocks (see --align)"
    else:
        from hfprune.exports.checkpoint import export

        written, out = export(model, config.model, config.out, made, **about), config.out
    if written > left:
        text = f", {written - left:,} of them zeros that pad narrower layers{text}"
    print(f"export: {out} has {written:,} parameters{text}")
