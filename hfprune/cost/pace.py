"""How long real passes take on a CPU, beside what its peak and bandwidth alone promise.

A product of two large matrices shows the peak. Small products, attention's kernels and element-wise passes reach
another share of it on each kind of processor.
"""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hfprune.cost.speed import Pace, seconds
from hfprune.criteria.entropy import Entropy
from hfprune.devices.table import Device
from hfprune.evaluation.work import Case
from hfprune.models.head import hidden_states
from hfprune.models.shape import Shape
from hfprune.scoring.score import score

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


def pace(device: Device, dtype: str) -> Pace:
    """Measure the pace of a small model's passes, with one thread.

    That of forward passes is measured as measures make them, and that of backward passes from scoring by entropy.

    Args:
        device: this machine's CPU, without a pace.
        dtype: of the model.
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

    work = case.score(criteria, SEQUENCES, LENGTH, ["neurons"])
    forward = _seconds(read) / seconds(device, case.read(SEQUENCES, LENGTH, 0), dtype)
    both, share = _seconds(scored) / seconds(device, work, dtype), work.backward / work.flops
    return Pace(forward, (both - (1 - share) * forward) / share)


def _seconds(passes: Callable[[], None]) -> float:
    """Return the processor time of one of a few repeats, the median."""
    times = []
    for _ in range(5):
        start = time.process_time()
        passes()
        times.append(time.process_time() - start)
    return median(times)
