"""The current speed of this machine's processors for a model, timed on an MLP of the model's shape."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import linear, silu

from hfprune.cost.work import LOGIT, Work
from hfprune.devices.known import UTILISATION
from hfprune.models.load import load_skeleton
from hfprune.models.shape import Shape
from hfprune.models.units import gated_mlps

DTYPES = ("float32", "bfloat16")
TOKENS = 512
PATIENCE = 1.0  # seconds
# Bytes of weights that are read in turn, more than most processors' caches hold.
UNCACHED = 2**28
# Fewest weights of the timed MLP, those of SmolLM2-135M: with fewer, the start of operations dominates, which
# other work on the machine makes a hundred times longer.
LEAST_WEIGHTS = 3 * 576 * 1536
# Seconds of a stage relative to those of an MLP alone at `UTILISATION`: of SmolLM2, and for reconstruction, which
# takes relatively more in smaller models, of Qwen2.5-Coder-0.5B.
PACE = {"score": 0.65, "linear": 0.8, "measure": 0.7, "sample": 0.7}
# Seconds of a decoding step per layer besides its products, and per layer and text.
LAYER, TEXT = 5e-4, 4e-5
# Picks the typical of several times.
Typical = Callable[[list[float]], float]


@dataclass
class TimedCpu:
    """The processors of this machine, perhaps shared, so that each speed is timed when it is needed."""

    model: Path
    """Folder of the dense model."""
    shape: Shape
    """Shape of the dense model."""
    _peaks: dict[str, float] = field(default_factory=dict)
    _tokens: dict[tuple[str, int], float] = field(default_factory=dict)
    """Dtype and number of texts → seconds of all MLPs for one token of each text."""

    def peak(self, dtype: str) -> float:
        """Return the operations per second of an MLP in a dtype on all cores."""
        if dtype not in self._peaks:
            # Forward, and backward to activations.
            operations = 4 * TOKENS * self.shape.mlp_weights
            self._peaks[dtype] = operations / mlp_seconds(self.model, [dtype], median)[dtype]
        return self._peaks[dtype]

    def seconds(self, stage: str, work: Work) -> float:
        """Return the seconds in which all cores do the passes, losses and decoding of a stage."""
        passes = 0.0
        if work.flops:
            passes = PACE.get(stage, 1.0) * work.flops / (UTILISATION * self.peak(work.dtype))
        return passes + LOGIT * work.logits / torch.get_num_threads() + self.decoding(work.dtype, work.steps)

    def decoding(self, dtype: str, steps: Mapping[int, float]) -> float:
        """Return the seconds of decoding by the dense model; `steps` maps texts at a time to a number of steps.

        A step waits for the weights, so that its time depends on their bytes and the current bandwidth.
        """
        if new := [texts for texts in steps if (dtype, texts) not in self._tokens]:
            times = step_seconds(self.model, new, [dtype], median)[dtype]
            self._tokens |= {(dtype, texts): seconds for texts, seconds in times.items()}
        layers = self.shape.layers
        weights = self.shape.products / (layers * self.shape.mlp_weights)
        return sum(
            count * (weights * self._tokens[dtype, texts] + layers * (LAYER + TEXT * texts))
            for texts, count in steps.items()
        )


def mlp_seconds(model: Path, dtypes: Collection[str] = DTYPES, typical: Typical = min) -> dict[str, float]:
    """Return the seconds that a forward and a backward pass of the model's first MLP takes, by dtype.

    The dtypes take turns for a second, so that other work on the machine slows all of them. The minimum is the
    least disturbed time; the median includes other work.
    """
    mlp, _ = _timed_mlp(model)
    parts = {dtype: _weights(mlp.shapes, dtype) for dtype in dtypes}
    times, start = {dtype: list[float]() for dtype in dtypes}, time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        for dtype, weights in parts.items():
            times[dtype].append(_pass_seconds(*weights))
    return {dtype: typical(seconds) / mlp.larger for dtype, seconds in times.items()}


def step_seconds(
    model: Path, batches: Sequence[int], dtypes: Collection[str] = DTYPES, typical: Typical = min
) -> dict[str, dict[int, float]]:
    """Return the seconds that all MLPs of a model take for one token of each text of a batch, by dtype and batch.

    As in decoding, more MLPs are timed in turn than any cache holds.
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
                seconds = _step_seconds(layers[dtype], batch) * count / len(layers[dtype])
                times[dtype][batch].append(seconds / mlp.larger)
    return {
        dtype: {batch: typical(seconds) for batch, seconds in by_batch.items()}
        for dtype, by_batch in times.items()
    }


@dataclass(frozen=True)
class _Mlp:
    shapes: list[torch.Size]
    """Shapes of the weights of gate, up and down."""
    larger: float
    """Number of its weights relative to the model's own MLP."""


def _timed_mlp(model: Path) -> tuple[_Mlp, int]:
    """Return the MLP to time, at least as wide as the model's first, and the model's number of MLPs."""
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
