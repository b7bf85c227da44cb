"""How long real passes take on a CPU, beside what its peak and bandwidth alone promise.

A product of two large matrices shows the peak. Small products, attention's kernels and element-wise passes reach
another share of it on each kind of processor.
"""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hfprune.cost.shape import Shape
from hfprune.cost.work import Case, Work
from hfprune.criteria.entropy import Entropy
from hfprune.models.head import hidden_states
from hfprune.scoring.score import score

if TYPE_CHECKING:
    from hfprune.cost.devices import Device

# Layers of SmolLM2's size, and a small vocabulary.
CONFIG: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 4,
    "vocab_size": 16384,
}
SEQUENCES, LENGTH, BATCH = 4, 256, 2


def pace(device: "Device", dtype: str) -> float:
    """Return the factor from predicted to measured processor time of a small model's passes, with one thread.

    It is the geometric mean of the factors of forward passes, as measures make them, and of scoring by entropy.
    """
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).to(getattr(torch, dtype)).eval().requires_grad_(False)
    tokens, criteria = torch.zeros(SEQUENCES, LENGTH, dtype=torch.int64), {"entropy": Entropy()}
    case = Case(Shape.of_config(CONFIG), dtype, on_gpu=False, room=device.memory)

    def read() -> None:
        with torch.inference_mode():
            for part in tokens.split(BATCH):
                hidden_states(model, part)

    def scored() -> None:
        with redirect_stderr(io.StringIO()):  # its progress
            score(criteria, model, tokens)

    def factor(work: Work, passes: Callable[[], None]) -> float:
        return _seconds(passes) / device.seconds(work, dtype)

    of_reading = factor(case.read(SEQUENCES, LENGTH, 0), read)
    return sqrt(of_reading * factor(case.score(criteria, SEQUENCES, LENGTH, ["neurons"]), scored))


def _seconds(passes: Callable[[], None]) -> float:
    """Return the processor time of one of a few repeats, the median."""
    times = []
    for _ in range(5):
        start = time.process_time()
        passes()
        times.append(time.process_time() - start)
    return median(times)
