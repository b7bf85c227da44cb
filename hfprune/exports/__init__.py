"""Exports: pruned models as folders that other programs load."""

from typing import Any, Literal

# The types that the gguf package can write; llama.cpp's own `llama-quantize` makes the others from these.
Quantization = Literal["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]


def quantized_only_gguf(config: Any) -> Any:
    """Return settings with `quantize` and `format`, or fail where both do not fit."""
    if config.quantize and config.format != "gguf":
        raise ValueError("--quantize belongs to --format gguf")
    return config
