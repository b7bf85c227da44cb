"""How long work takes on a device, and what this machine reaches."""

import resource
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from hfprune.devices.table import Device, core_count, main_memory, table_device, visible_device
from hfprune.evaluation.work import Work

HERE = "here"
# Shares of the peak that whole jobs reach. On a CPU measured, against a product of two matrices. On GPUs an
# assumption, since none was at hand: what the paper's Table 4 gives for a prefill on an A6000 (38 %).
GPU_UTILISATION, CPU_UTILISATION = 0.4, 0.85
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


def seconds(device: Device, work: Work, dtype: str, threads: int = 1) -> float:
    """Return the time of a job's work, without its start.

    On a CPU products, traffic and the interpreter follow each other. On a GPU the interpreter runs ahead, so
    that the slower of the two counts.
    """
    threads = min(threads, device.cores) if device.cores else 1
    rate = device.peak[dtype] * threads * (GPU_UTILISATION if device.on_gpu else CPU_UTILISATION)
    computed = work.flops / rate + work.moved / (device.bandwidth * threads)
    computed *= Pace(*device.pace.get(dtype, (1.0, 1.0))).of(work)
    calls = work.calls * (GPU_CALL if device.on_gpu else CPU_CALL)
    return loading(work) + (max(computed, calls) if device.on_gpu else computed + calls)


def share(device: Device, threads: int) -> float:
    """Return the part of the device that a job of so many threads takes."""
    return min(threads, device.cores) / device.cores if device.cores else 1.0


def loading(work: Work) -> float:
    """Return the seconds in which a job loads its models."""
    return BUILD + work.loaded / READ if work.loaded else 0.0


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


@cache
def measure_here() -> Device:
    """Measure the GPU or the CPU of this machine: products of two matrices, a copy, and a start of Python.

    Of a CPU also passes of a small model.
    """
    # Before torch, whose threads may bind this process to one core.
    cores, start = core_count(), _timed_start()
    import torch

    from hfprune.devices.lease import default_device
    from hfprune.devices.rates import copy_rate, product_rate

    place = default_device()
    if place.type == "cuda":
        properties = torch.cuda.get_device_properties(place)
        peak = {dtype: product_rate(dtype, place) for dtype in ("float32", "bfloat16", "float16")}
        return Device(
            properties.name, float(properties.total_memory), copy_rate(place), peak, "measured", 0, start
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        place = torch.device("cpu")
        peak = {dtype: product_rate(dtype, place) for dtype in ("float32", "bfloat16", "float16")}
        device = Device(HERE, main_memory(), copy_rate(place), peak, "measured", cores, start)
        from hfprune.cost.pace import pace

        # Where bfloat16 is emulated, its passes take minutes, and no study would choose it.
        fast = [dtype for dtype in ("float32", "bfloat16") if peak[dtype] >= peak["float32"]]
        return replace(device, pace={dtype: pace(device, dtype) for dtype in fast})
    finally:
        torch.set_num_threads(threads)


def _timed_start() -> float:
    """Return the processor's seconds in which a fresh interpreter has imported the libraries of a job."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", IMPORTS], check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
