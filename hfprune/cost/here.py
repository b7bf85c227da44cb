"""The device of this machine, with rates measured on the spot."""

import io
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache
from typing import Any

from hfprune.cost.speed import CALL
from hfprune.criteria.entropy import Entropy
from hfprune.devices.table import Device, nominal_cpu, table_device, visible_device
from hfprune.evaluation.work import Case
from hfprune.models.shape import Shape

HERE = "here"
# Layers of SmolLM2's size, and a small vocabulary.
CONFIG: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 4,
    "vocab_size": 16384,
}
SEQUENCES, LENGTH = 4, 256


def find_device(name: str | None = None) -> Device:
    """Return a device of the table, or the one here: by its name the GPU that is visible, else measured.

    Args:
        name: of the table; `here` to measure; None for the GPU that is visible or, without one, `here`.

    Raises:
        HfpruneError: the table lacks the name; gives the known ones.
    """
    device = visible_device()
    if name is None and device and not device.guessed:
        return device
    return measure_here() if name in (None, HERE) else table_device(str(name))


@cache
def measure_here() -> Device:
    """Measure this machine: a GPU by products of matrices and copies, a CPU also by passes of a small model."""
    nominal = nominal_cpu()  # before torch, whose threads may bind this process to one core
    import torch

    from hfprune.devices.lease import default_device
    from hfprune.devices.rates import copy_rate, measured_gpu, product_rate

    threads, place = torch.get_num_threads(), default_device()
    if place.type == "cuda":
        return measured_gpu()
    torch.set_num_threads(1)
    try:
        product = {dtype: product_rate(dtype, place) for dtype in nominal.rates}
        device = replace(nominal, name=HERE, bandwidth=copy_rate(place), source="measured")
        reached = passes_rate(device, "float32") / product["float32"]
        rates = {dtype: reached * rate for dtype, rate in product.items()}
        # Where bfloat16 is emulated, its passes take minutes, and no study would choose it.
        if product["bfloat16"] > product["float32"]:
            rates["bfloat16"] = passes_rate(device, "bfloat16")
        return replace(device, rates=rates)
    finally:
        torch.set_num_threads(threads)


def passes_rate(device: Device, dtype: str) -> float:
    """Return the operations a second that passes of a small model reach, forward and backward, on one core.

    What they move and call takes its own time in the cost model, but at most half of the time that is measured.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hfprune.devices.rates import best_seconds
    from hfprune.scoring.scored import score

    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).to(getattr(torch, dtype)).eval().requires_grad_(False)
    tokens, criteria = torch.zeros(SEQUENCES, LENGTH, dtype=torch.int64), {"entropy": Entropy()}
    with redirect_stderr(io.StringIO()):  # its progress
        spent = best_seconds(lambda: score(criteria, model, tokens))
    case = Case(Shape.of_config(CONFIG), dtype, on_gpu=False, room=device.memory)
    work = case.score(criteria, SEQUENCES, LENGTH, ["neurons"])
    return work.flops / max(spent - work.moved / device.bandwidth - work.calls * CALL, spent / 2)
