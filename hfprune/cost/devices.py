"""Devices: from a table with sources, from the driver, or measured on the spot."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from hfprune.cost.work import Work
from hfprune.errors import HfpruneError
from hfprune.gpus import visible_devices
from hfprune.settings import Dtype

if TYPE_CHECKING:
    import torch

HERE = "here"
# Shares of the peak that whole jobs reach. On a CPU measured, against a product of two matrices. On GPUs an
# assumption, since none was at hand: what the paper's Table 4 gives for a prefill on an A6000 (38 %).
GPU_UTILISATION, CPU_UTILISATION = 0.4, 0.85
# Seconds of a start, from the shell to loaded libraries: on a CPU measured; on a GPU an assumption, which has a
# context and kernels on top.
GPU_START, CPU_START = 13.0, 4.0
IMPORTS = "import pandas, lm_eval.models.huggingface; from transformers import AutoModelForCausalLM"
# Seconds of one call of a decoder layer by the interpreter.
GPU_CALL, CPU_CALL = 4e-4, 4e-4
# Bytes a second at which weights are read and converted, and seconds in which a job builds its model; measured.
READ, BUILD = 1e9, 2.0
# Bytes of a process with all libraries, without weights.
PROCESS = 1.2e9


class Pace(NamedTuple):
    """Factors from the time that peak and bandwidth give to that of real passes."""

    forward: float
    backward: float

    def of(self, work: Work) -> float:
        """Return the factor of some work, by the share of its operations that are in backward passes."""
        share = work.backward / work.flops if work.flops else 0.0
        return self.forward + share * (self.backward - self.forward)


@dataclass(frozen=True)
class Device:
    """A device, and the speed of jobs on it."""

    name: str
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second; of one core if it is a CPU."""
    peak: dict[str, float]
    """Operations a second by dtype; of one core if it is a CPU."""
    source: str
    cores: int = 0
    """Cores, each of which runs a job of one thread; 0: a GPU, which runs one job at a time."""
    start: float = GPU_START
    """Seconds of the start of a job."""
    guessed: bool = False
    """Whether the table lacks it, so that its speed is a guess."""
    pace: dict[str, Pace] = field(default_factory=dict)
    """By dtype, how much longer real passes take than by peak and bandwidth, where measured (a CPU)."""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return not self.cores

    def seconds(self, work: Work, dtype: str, threads: int = 1) -> float:
        """Return the time of a job's work, without its start.

        On a CPU products, traffic and the interpreter follow each other. On a GPU the interpreter runs ahead, so
        that the slower of the two counts.
        """
        threads = min(threads, self.cores) if self.cores else 1
        rate = self.peak[dtype] * threads * (GPU_UTILISATION if self.on_gpu else CPU_UTILISATION)
        computed = work.flops / rate + work.moved / (self.bandwidth * threads)
        computed *= self.pace.get(dtype, Pace(1, 1)).of(work)
        calls = work.calls * (GPU_CALL if self.on_gpu else CPU_CALL)
        return loading(work) + (max(computed, calls) if self.on_gpu else computed + calls)

    def share(self, threads: int) -> float:
        """Return the part of the device that a job of so many threads takes."""
        return min(threads, self.cores) / self.cores if self.cores else 1.0


def loading(work: Work) -> float:
    """Return the seconds in which a job loads its models."""
    return BUILD + work.loaded / READ if work.loaded else 0.0


@cache
def known_devices() -> dict[str, Device]:
    """Return the devices of `devices.yaml` by name."""
    return {
        name: Device(
            name,
            memory=1e9 * entry["memory"],
            bandwidth=1e9 * entry["bandwidth"],
            peak={dtype: 1e12 * entry[dtype] for dtype in ("float32", "bfloat16", "float16")},
            source=entry["source"],
            cores=entry.get("cores", 0),
            start=CPU_START if "cores" in entry else GPU_START,
        )
        for name, entry in _table().items()
    }


@cache
def _table() -> dict[str, dict]:
    return yaml.safe_load(Path(__file__).with_name("devices.yaml").read_text())


def find_device(name: str | None = None) -> Device:
    """Return a device of the table, or the one here: by its name the GPU that is visible, else measured.

    Args:
        name: of the table; `here` to measure; None for the GPU that is visible or, without one, `here`.

    Raises:
        HfpruneError: the table lacks the name; gives the known ones.
    """
    if name is None:
        device = visible_device()
        return measure_here() if device is None or device.guessed else device
    if name == HERE:
        return measure_here()
    return table_device(name)


def table_device(name: str, known: str = "{}; `--device here` measures this machine's") -> Device:
    """Return a device of the table; `known` says what a name may be, with `{}` for those of the table."""
    if name not in known_devices():
        raise HfpruneError(f"unknown device {name!r}; known: {known.format(', '.join(known_devices()))}")
    return known_devices()[name]


def visible_device() -> Device | None:
    """Return the smallest GPU that the driver shows, without importing torch; None if there is none.

    Its memory is what the driver says. A GPU that the table lacks has the speed of the table's slowest.
    """
    found = visible_devices()
    if not found:
        return None
    name, memory = min(found, key=lambda item: item[1])
    return named_device(name, memory)


def named_device(name: str, memory: float) -> Device:
    """Return the device that the driver calls `name`."""
    text = name.lower()
    for key, entry in _table().items():
        if "laptop" not in text and any(re.search(rf"{re.escape(part)}\b", text) for part in entry["says"]):
            return replace(known_devices()[key], memory=memory)
    slowest = slowest_gpu()
    said = f"unknown, so taken to be as fast as {slowest.name}"
    return replace(slowest, name=name, memory=memory, source=said, guessed=True)


def slowest_gpu() -> Device:
    """Return the slowest GPU of the table."""
    gpus = [device for device in known_devices().values() if device.on_gpu]
    return min(gpus, key=lambda device: device.peak["bfloat16"])


def nominal_cpu() -> Device:
    """Return this machine's memory and cores with the table's speed, for plans that must not import torch."""
    return replace(known_devices()["cpu"], memory=_main_memory(), cores=_cores())


@cache
def measure_here() -> Device:
    """Measure the GPU or the CPU of this machine: products of two matrices, a copy, and a start of Python.

    Of a CPU also passes of a small model.
    """
    # Before torch, whose threads may bind this process to one core.
    cores, start = _cores(), _timed_start()
    import torch

    if torch.cuda.is_available():
        from hfprune.models.device import default_device

        place = default_device()
        properties = torch.cuda.get_device_properties(place)
        peak = {dtype: product_rate(dtype, place) for dtype in ("float32", "bfloat16", "float16")}
        return Device(
            properties.name, float(properties.total_memory), _copy_rate(place), peak, "measured", 0, start
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        place = torch.device("cpu")
        peak = {dtype: product_rate(dtype, place) for dtype in ("float32", "bfloat16", "float16")}
        device = Device(HERE, _main_memory(), _copy_rate(place), peak, "measured", cores, start)
        from hfprune.cost.pace import pace

        # Where bfloat16 is emulated, its passes take minutes, and no study would choose it.
        fast = [dtype for dtype in ("float32", "bfloat16") if peak[dtype] >= peak["float32"]]
        return replace(device, pace={dtype: pace(device, dtype) for dtype in fast})
    finally:
        torch.set_num_threads(threads)


@cache
def peak_here(dtype: str) -> float:
    """Return the peak of this process: of its GPU by the table, else of a product of matrices by its threads."""
    import torch

    if not torch.cuda.is_available():
        return product_rate(dtype, torch.device("cpu"))
    from hfprune.models.device import default_device

    place = default_device()
    device = named_device(torch.cuda.get_device_name(place), 0)
    return product_rate(dtype, place) if device.guessed else device.peak[dtype]


def product_rate(dtype: Dtype | str, place: "torch.device") -> float:
    """Return the operations a second of a product of two square matrices, the best of a few."""
    import torch

    size = 8192 if place.type == "cuda" else 768
    a = torch.randn(size, size, device=place).to(getattr(torch, dtype))
    return 2 * size**3 / _best(lambda: a @ a)


def _copy_rate(place: "torch.device") -> float:
    """Return the bytes a second that exponentials read and write, half of them into new memory."""
    import torch

    x = torch.randn(2**27 if place.type == "cuda" else 2**23, device=place)
    old = torch.empty_like(x)
    return 4 * x.nbytes / _best(lambda: (x.exp(), torch.exp(x, out=old)))


def _best(work: Callable[[], Any]) -> float:
    """Return the least seconds of a few repeats; on a CPU of its processors, whatever else runs there."""
    import torch

    cuda, times = torch.cuda.is_initialized(), []
    for _ in range(4):
        start = time.perf_counter() if cuda else time.process_time()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() if cuda else time.process_time()) - start)
    return min(times) / (1 if cuda else torch.get_num_threads())


def _timed_start() -> float:
    """Return the processor's seconds in which a fresh interpreter has imported the libraries of a job."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", IMPORTS], check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _main_memory() -> float:
    """Return the bytes of this machine's memory, or 16 GB where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 16e9
