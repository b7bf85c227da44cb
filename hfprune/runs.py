"""A run: its record in files, its machine, and the time and memory that it takes."""

import os
import platform
import resource
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict


class Hardware(TypedDict, total=False):
    """The machine of a run; fields from `threads` on come from torch, and the last three need a GPU."""

    machine: str
    processor: str
    cores: int | None
    threads: int
    cuda: list[str]
    """The GPUs in use, by name."""
    tf32: bool
    reduced_sums: bool
    attention: list[str]


class Provenance(TypedDict, total=False):
    """The origin of a file; files identified by their hash record the first three fields alone (`stable`)."""

    hfprune: str
    inputs: dict[str, str]
    """Role → `hfprune.provenance.identity`."""
    settings: dict[str, Any]
    """Settings of the stage that wrote the file."""
    packages: dict[str, str]
    git: str | None
    hardware: Hardware
    started: str
    cost: dict[str, float]
    curve: list[Any]
    """The points of a scoring or a recovery (`hfprune.results.curves.curve`)."""
    drawn: dict[str, object]
    """How the blocks of a scoring were drawn."""
    batch_tokens_that_fitted: int
    losses: list[float]
    """Losses of a recovery in nats per response token, by step."""
    held_out_tokens: list[int]
    """Response tokens of every held-out sequence of a recovery."""
    parameters: int
    """Parameters of an exported model; its files may also hold zeros that pad them."""
    parameters_on_disk: int


class Stopwatch:
    """Measures wall time and peak memory since its creation, without the time between `pause` and `resume`.

    Peak memory is the maximum that the CUDA allocator handed out, or on a CPU the peak resident memory of the
    whole process, weights and libraries included.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self.started = datetime.now(UTC)
        self._start, self._busy = _now()
        self._peak = 0.0
        _forget_peak()
        if paused:
            self.pause()

    def pause(self) -> None:
        """Leave out time and memory until `resume`."""
        self._peak = max(self._peak, _peak_memory())
        self._paused = _now()

    def resume(self) -> None:
        """Count again, after `pause`."""
        for name, now, then in zip(("_start", "_busy"), _now(), self._paused, strict=True):
            setattr(self, name, getattr(self, name) + now - then)
        _forget_peak()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all threads of this process, without those of pauses."""
        return time.process_time() - self._busy

    def cost(self) -> dict[str, float]:
        """Return wall `seconds` and `peak_memory_bytes`, without those of pauses."""
        peak = max(self._peak, _peak_memory())
        return {"seconds": time.perf_counter() - self._start, "peak_memory_bytes": peak}


def _now() -> tuple[float, float]:
    if _cuda():
        import torch

        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _forget_peak() -> None:
    """Reset the peak of CUDA's memory, or of the process where the system allows it (Linux)."""
    if _cuda():
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> float:
    if _cuda():
        import torch

        torch.cuda.synchronize()
        return float(sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def hardware() -> Hardware:
    """Return the machine, processor and core count and, if torch is loaded, its threads and the GPUs in use."""
    machine: Hardware = {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    if "torch" in sys.modules:
        import torch

        machine["threads"] = torch.get_num_threads()
        gpus = range(torch.cuda.device_count()) if _cuda() else ()
        machine["cuda"] = [torch.cuda.get_device_name(gpu) for gpu in gpus]
        if machine["cuda"]:  # settings by which products may round more than their dtype
            products = torch.backends.cuda.matmul
            machine["tf32"] = products.allow_tf32
            machine["reduced_sums"] = products.allow_bf16_reduced_precision_reduction
            # PyTorch takes the first of these that fits a call's shapes, dtype and mask.
            kernels = ("cudnn", "flash", "mem_efficient", "math")
            allowed = {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled") for name in kernels}
            machine["attention"] = [name for name, enabled in allowed.items() if enabled()]
    return machine


def _cuda() -> bool:
    """Tell whether this process uses CUDA; to ask whether it could would already start CUDA."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
