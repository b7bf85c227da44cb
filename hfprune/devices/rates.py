"""How fast this process's device is: a product of matrices, timed on the spot."""

import time
from dataclasses import replace

import torch

from hfprune.devices.known import Device
from hfprune.devices.lease import default_device


def measured(device: Device) -> Device:
    """Return this machine's device with the peaks that products of matrices reach."""
    float32, bfloat16 = (product_rate(dtype, default_device()) for dtype in ("float32", "bfloat16"))
    return replace(device, name="here", float32=float32, bfloat16=bfloat16)


def product_rate(dtype: str, place: torch.device) -> float:
    """Return the operations a second of a product of two square matrices, the best of a few; of one core."""
    size, cuda, times = (8192, True, []) if place.type == "cuda" else (768, False, [])
    a = torch.randn(size, size, device=place).to(getattr(torch, dtype))
    # Of a CPU's processors, whatever else runs there.
    clock = time.perf_counter if cuda else time.process_time
    for _ in range(4):
        start = clock()
        _ = a @ a
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return 2 * size**3 / min(times)
