"""The number of GPUs, found without torch, whose import takes seconds."""

import ctypes


def visible_gpus() -> int:
    """Return the number of CUDA devices that the driver reports under CUDA_VISIBLE_DEVICES."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
