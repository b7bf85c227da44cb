"""The precision in which a processor computes a model faster, timed once for a folder and remembered there."""

import time
from pathlib import Path

import torch
from torch.nn.functional import linear, silu

from hfprune.devices.known import visible_device
from hfprune.files import read_json, write_json
from hfprune.models.load import load_skeleton
from hfprune.models.units import gated_mlps

REMEMBERED = "dtype.json"
DTYPES = ("float32", "bfloat16")
# bfloat16 rounds, so it has to be worth it.
WORTH = 1.2
TOKENS = 512
PATIENCE = 1.0  # seconds


def faster_dtype(model: Path, folder: Path) -> str:
    """Return bfloat16 on a GPU, or where an MLP of the model is `WORTH` times as fast in it; else float32.

    Instructions alone do not tell: processors with the same ones differ in which precision is faster. A call
    that resumes finds what the first one found.

    Args:
        model: folder of the dense model.
        folder: where the answer is kept, with the times in seconds.
    """
    if visible_device():
        return "bfloat16"
    path = folder / REMEMBERED
    if not path.is_file():
        seconds = mlp_seconds(model)
        faster = "bfloat16" if seconds["float32"] > WORTH * seconds["bfloat16"] else "float32"
        write_json(path, {"dtype": faster, "seconds": seconds})
    return str(read_json(path)["dtype"])


def mlp_seconds(model: Path) -> dict[str, float]:
    """Return the fewest seconds that a forward and a backward pass of the model's first MLP takes, by dtype.

    Both take turns for a second, so that other work on the machine hits both.
    """
    shapes = [part.weight.shape for part in gated_mlps(load_skeleton(model))[0].linears]
    least, start = dict.fromkeys(DTYPES, float("inf")), time.perf_counter()
    parts = {
        dtype: [torch.full(shape, 0.01, dtype=getattr(torch, dtype)) for shape in shapes] for dtype in DTYPES
    }
    while time.perf_counter() - start < PATIENCE:
        for dtype, weights in parts.items():
            least[dtype] = min(least[dtype], _pass_seconds(*weights))
    return least


def _pass_seconds(gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> float:
    tokens = torch.ones(TOKENS, gate.shape[1], dtype=gate.dtype, requires_grad=True)
    start = time.perf_counter()
    hidden = silu(linear(tokens, gate)) * linear(tokens, up)
    linear(hidden, down).sum().backward()
    return time.perf_counter() - start
