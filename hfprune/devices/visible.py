"""The GPUs of this machine, found without torch, whose import takes seconds."""

import ctypes


def visible_gpus() -> int:
    """Return the number of CUDA devices that the driver reports under CUDA_VISIBLE_DEVICES."""
    return len(visible_devices())


def visible_devices() -> list[tuple[str, float]]:
    """Return the name and the bytes of memory of every CUDA device under CUDA_VISIBLE_DEVICES."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = []
    for index in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        found.append((name.value.decode(errors="replace"), float(memory.value)))
    return found
