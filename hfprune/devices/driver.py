"""A program of its own that asks NVIDIA's driver for its GPUs and prints what it says, as JSON.

The driver reads CUDA_VISIBLE_DEVICES once in a process. So the process that asks is not the one that then chooses.
"""

import ctypes
import json
import os
import uuid


def main() -> None:
    """Print the driver's CUDA version, as 12040 for 12.4, and name, bytes and UUID of every visible GPU.

    A stand-in for the driver may tell neither version, which is then 0, nor UUIDs: there, a GPU is named as in
    CUDA_VISIBLE_DEVICES.
    """
    driver, version, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int()
    if hasattr(driver, "cuDriverGetVersion"):
        driver.cuDriverGetVersion(ctypes.byref(version))
    named = [*filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))]
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        count.value = 0
    found = []
    for index in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        digits = ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        said = name.value.decode(errors="replace")
        if hasattr(driver, "cuDeviceGetUuid_v2"):
            driver.cuDeviceGetUuid_v2(digits, device)
            identity = f"{'MIG' if ' MIG ' in said else 'GPU'}-{uuid.UUID(bytes=digits.raw)}"
        else:
            identity = named[index] if named else f"{index}"
        found.append((said, memory.value, identity))
    print(json.dumps([version.value, found]))


if __name__ == "__main__":
    main()
