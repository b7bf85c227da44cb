"""How fast this machine's processors compute a model now, as an MLP of the model's shape shows."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import linear, silu

from hfprune.cost.work import Work
from hfprune.devices.known import UTILISATION
from hfprune.models.load import load_skeleton
from hfprune.models.shape import Shape
from hfprune.models.units import gated_mlps

DTYPES = ("float32", "bfloat16")
TOKENS = 512
PATIENCE = 1.0  # seconds
# Bytes of weights that are read in turn, more than the caches of most processors.
UNCACHED = 2**28
# Weights of the MLP that is timed at least, those of SmolLM2-135M: a smaller one times how operations start, and
# other work on the machine makes that a hundred times longer.
LEAST_WEIGHTS = 3 * 576 * 1536
# Seconds of a stage over those that an MLP alone would take at `UTILISATION`: of SmolLM2, and of
# Qwen2.5-Coder-0.5B for reconstruction, which takes more in smaller models.
PACE = {"score": 0.65, "linear": 0.8, "measure": 0.7, "sample": 0.7}
# Seconds in which a thread makes a loss or an entropy of a logit.
LOGIT = 7e-9
# Seconds of a decoding step in each layer beside its products, and in each layer for each text.
LAYER, TEXT = 5e-4, 4e-5
# Which of several times counts.
Typical = Callable[[list[float]], float]


@dataclass
class TimedCpu:
    """The processors of this machine; others may share them, so that each speed is timed when it is asked for."""

    model: Path
    """Folder of the dense model."""
    shape: Shape
    """The dense model's."""
    _peaks: dict[str, float] = field(default_factory=dict)
    _tokens: dict[tuple[str, int], float] = field(default_factory=dict)
    """Seconds of all MLPs for a token of each of so many texts, by dtype and texts."""

    def peak(self, dtype: str) -> float:
        """Return the operations per second of an MLP in a dtype on all cores."""
        if dtype not in self._peaks:
            # Forward, and backward to activations.
            operations = 4 * TOKENS * self.shape.mlp_weights
            self._peaks[dtype] = operations / mlp_seconds(self.model, [dtype], median)[dtype]
        return self._peaks[dtype]

    def seconds(self, stage: str, work: Work) -> float:
        """Return the seconds in which all cores do the passes, the losses and the decoding of a stage."""
        passes = (
            PACE.get(stage, 1.0) * work.flops / (UTILISATION * self.peak(work.dtype)) if work.flops else 0.0
        )
        return passes + LOGIT * work.logits / torch.get_num_threads() + self.decoding(work.dtype, work.steps)

    def decoding(self, dtype: str, steps: Mapping[int, float]) -> float:
        """Return the seconds of so many steps of decoding by the dense model, by how many texts go on at a time.

        A step waits for the weights, so that its time is that of their bytes at the bandwidth of the moment.
        """
        if new := [texts for texts in steps if (dtype, texts) not in self._tokens]:
            taken = step_seconds(self.model, new, [dtype], median)[dtype]
            self._tokens |= {(dtype, texts): seconds for texts, seconds in taken.items()}
        layers = self.shape.layers
        weights = self.shape.products / (layers * self.shape.mlp_weights)
        return sum(
            count * (weights * self._tokens[dtype, texts] + layers * (LAYER + TEXT * texts))
            for texts, count in steps.items()
        )


def mlp_seconds(model: Path, dtypes: Collection[str] = DTYPES, typical: Typical = min) -> dict[str, float]:
    """Return the seconds that a forward and a backward pass of the model's first MLP takes, by dtype.

    The dtypes take turns for a second, so that other work on the machine slows each of them. The minimum is the
    least disturbed time; the median is what other work leaves.
    """
    mlp, _ = _timed_mlp(model)
    parts = {dtype: _weights(mlp.shapes, dtype) for dtype in dtypes}
    taken, start = {dtype: list[float]() for dtype in dtypes}, time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        for dtype, weights in parts.items():
            taken[dtype].append(_pass_seconds(*weights))
    return {dtype: typical(seconds) / mlp.larger for dtype, seconds in taken.items()}


def step_seconds(
    model: Path, batches: Sequence[int], dtypes: Collection[str] = DTYPES, typical: Typical = min
) -> dict[str, dict[int, float]]:
    """Return the seconds that MLPs take for a token of each of so many texts, by dtype and batch.

    The times are of all MLPs of the model. More are timed in turn than any cache holds, as in decoding.
    """
    mlp, count = _timed_mlp(model)
    times = {dtype: {batch: list[float]() for batch in batches} for dtype in dtypes}
    layers = {}
    for dtype in dtypes:
        size = sum(weight.nbytes for weight in _weights(mlp.shapes, dtype))
        layers[dtype] = [_weights(mlp.shapes, dtype) for _ in range(min(count, ceil(UNCACHED / size)))]
    start = time.perf_counter()
    with torch.inference_mode():
        while time.perf_counter() - start < PATIENCE:
            for dtype, batch in ((dtype, batch) for dtype in dtypes for batch in batches):
                taken = _step_seconds(layers[dtype], batch) * count / len(layers[dtype])
                times[dtype][batch].append(taken / mlp.larger)
    return {
        dtype: {batch: typical(seconds) for batch, seconds in by_batch.items()}
        for dtype, by_batch in times.items()
    }


@dataclass(frozen=True)
class _Mlp:
    shapes: list[torch.Size]
    """Of the weights of gate, up and down."""
    larger: float
    """How many times the weights of the model's own MLP it has."""


def _timed_mlp(model: Path) -> tuple[_Mlp, int]:
    """Return the MLP that is timed, at least as wide as the model's first, and the model's number of MLPs."""
    mlps = gated_mlps(load_skeleton(model))
    shapes = [part.weight.shape for part in mlps[0].linears]
    times = ceil(sqrt(LEAST_WEIGHTS / sum(shape.numel() for shape in shapes)))
    return _Mlp([torch.Size(times * size for size in shape) for shape in shapes], times**2), len(mlps)


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
