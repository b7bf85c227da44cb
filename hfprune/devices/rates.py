"""How fast this process's device is: products of matrices and copies, timed on the spot."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from hfprune.devices.lease import default_device
from hfprune.devices.table import DTYPES, GPU_SHARE, Device, named_device
from hfprune.settings import Dtype


@cache
def peak_here(dtype: str) -> float:
    """Return the peak of this process: of its GPU by the table, else of a product of matrices by its threads."""
    place = default_device()
    if place.type == "cpu":
        return product_rate(dtype, place)
    device = named_device(torch.cuda.get_device_name(place), 0)
    return product_rate(dtype, place) if device.guessed else device.rates[dtype] / GPU_SHARE


def measured_gpu() -> Device:
    """Return the GPU that this process leases, by products of matrices and copies."""
    place = default_device()
    properties = torch.cuda.get_device_properties(place)
    rates = {dtype: GPU_SHARE * product_rate(dtype, place) for dtype in DTYPES}
    return Device(properties.name, float(properties.total_memory), copy_rate(place), rates, "measured")


def product_rate(dtype: Dtype | str, place: torch.device) -> float:
    """Return the operations a second of a product of two square matrices, the best of a few."""
    size = 8192 if place.type == "cuda" else 768
    a = torch.randn(size, size, device=place).to(getattr(torch, dtype))
    return 2 * size**3 / best_seconds(lambda: a @ a)


def copy_rate(place: torch.device) -> float:
    """Return the bytes a second that exponentials read and write, half of them into new memory."""
    x = torch.randn(2**27 if place.type == "cuda" else 2**23, device=place)
    old = torch.empty_like(x)
    return 4 * x.nbytes / best_seconds(lambda: (x.exp(), torch.exp(x, out=old)))


def best_seconds(work: Callable[[], Any]) -> float:
    """Return the least seconds of a few repeats; on a CPU of its processors, whatever else runs there."""
    cuda, times = torch.cuda.is_initialized(), []
    for _ in range(4):
        start = time.perf_counter() if cuda else time.process_time()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() if cuda else time.process_time()) - start)
    return min(times) / (1 if cuda else torch.get_num_threads())
