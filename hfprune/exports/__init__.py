"""Exports: pruned models as folders that other programs load."""

from typing import Literal

# The types that the gguf package can write; llama.cpp's own `llama-quantize` makes the others from these.
Quantization = Literal["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]
