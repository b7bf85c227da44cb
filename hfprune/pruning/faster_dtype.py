"""The precision in which a processor computes a model faster, timed once for a folder and remembered there."""

import time
from collections.abc import Callable, Collection, Sequence
from math import ceil
from pathlib import Path

import torch
from torch.nn.functional import linear, silu

from hfprune.devices.known import visible_device
from hfprune.files import read_json, write_json
from hfprune.models.load import load_skeleton
from hfprune.models.units import gated_mlps
from hfprune.pruning.sample import STEPS
from hfprune.settings import Dtype

REMEMBERED, DECODING = "dtype.json", "dtype-decoding.json"
DTYPES = ("float32", "bfloat16")
# bfloat16 rounds and float32 takes twice the memory, so a change has to be worth it.
WORTH = 1.2
TOKENS = 512
PATIENCE = 1.0  # seconds
# Bytes of weights that are read in turn, more than the caches of most processors.
UNCACHED = 2**28
# Which of several times counts.
Typical = Callable[[list[float]], float]


def faster_dtype(model: Path, folder: Path, *, decoding: bool = False) -> Dtype:
    """Return bfloat16 on a GPU, or where an MLP of the model is `WORTH` times as fast in it; else float32.

    Instructions alone do not tell: processors with the same ones differ in which precision is faster. A call
    that resumes finds what the first one found.

    Args:
        model: folder of the dense model.
        folder: where the answer is kept, with the times in seconds.
        decoding: whether for the sample's steps of decoding, which wait for weights; then it is the precision of
            passes where the other is not `WORTH` times as fast.
    """
    if visible_device():
        return "bfloat16"
    path = folder / (DECODING if decoding else REMEMBERED)
    if not path.is_file():
        usual: Dtype = "float32"
        if decoding:
            usual = faster_dtype(model, folder)
            steps = step_seconds(model, [*STEPS])
            seconds = {
                dtype: sum(STEPS[batch] * each[batch] for batch in STEPS) for dtype, each in steps.items()
            }
        else:
            seconds = mlp_seconds(model)
        (other,) = {*DTYPES} - {usual}
        faster = other if seconds[usual] > WORTH * seconds[other] else usual
        write_json(path, {"dtype": faster, "seconds": seconds})
    return read_json(path)["dtype"]


def mlp_seconds(model: Path, dtypes: Collection[str] = DTYPES, typical: Typical = min) -> dict[str, float]:
    """Return the seconds that a forward and a backward pass of the model's first MLP takes, by dtype.

    All take turns for a second, so that other work on the machine hits each. The fewest seconds are those that it
    has hit the least; the median has what it leaves.
    """
    shapes, _ = _mlps(model)
    parts = {dtype: _weights(shapes, dtype) for dtype in dtypes}
    taken, start = {dtype: list[float]() for dtype in dtypes}, time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        for dtype, weights in parts.items():
            taken[dtype].append(_pass_seconds(*weights))
    return {dtype: typical(each) for dtype, each in taken.items()}


def step_seconds(
    model: Path, batches: Sequence[int], dtypes: Collection[str] = DTYPES, typical: Typical = min
) -> dict[str, dict[int, float]]:
    """Return the seconds that MLPs take for a token of each of so many texts, by dtype and batch.

    They are those of all MLPs of the model. As many are timed in turn as no cache holds, as in decoding.
    """
    shapes, count = _mlps(model)
    times = {dtype: {batch: list[float]() for batch in batches} for dtype in dtypes}
    layers = {}
    for dtype in dtypes:
        size = sum(each.nbytes for each in _weights(shapes, dtype))
        layers[dtype] = [_weights(shapes, dtype) for _ in range(min(count, ceil(UNCACHED / size)))]
    start = time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - start < PATIENCE:
            for dtype, batch in ((dtype, batch) for dtype in dtypes for batch in batches):
                taken = _step_seconds(layers[dtype], batch) * count / len(layers[dtype])
                times[dtype][batch].append(taken)
    return {dtype: {batch: typical(each) for batch, each in by.items()} for dtype, by in times.items()}


def _mlps(model: Path) -> tuple[list[torch.Size], int]:
    """Return the shapes of the first MLP's weights, and the number of MLPs."""
    mlps = gated_mlps(load_skeleton(model))
    return [part.weight.shape for part in mlps[0].linears], len(mlps)


def _weights(shapes: Sequence[torch.Size], dtype: str) -> list[torch.Tensor]:
    return [torch.full(shape, 0.01, dtype=getattr(torch, dtype)) for shape in shapes]


def _pass_seconds(gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> float:
    tokens = torch.ones(TOKENS, gate.shape[1], dtype=gate.dtype, requires_grad=True)
    start = time.perf_counter()
    _mlp(tokens, gate, up, down).sum().backward()
    return time.perf_counter() - start


def _step_seconds(layers: Sequence[Sequence[torch.Tensor]], batch: int) -> float:
    tokens = torch.ones(batch, layers[0][0].shape[1], dtype=layers[0][0].dtype)
    start = time.perf_counter()
    for weights in layers:
        _mlp(tokens, *weights)
    return time.perf_counter() - start


def _mlp(tokens: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return linear(silu(linear(tokens, gate)) * linear(tokens, up), down)
