"""A separate program that asks NVIDIA's driver for its GPUs and prints them as JSON.

The driver reads CUDA_VISIBLE_DEVICES once per process, so the process that asks must not be the one that chooses.
"""

import ctypes
import json
import os
import uuid


def main() -> None:
    """Print the driver's CUDA version (12040 for 12.4) and the name, bytes and UUID of every visible GPU.

    A stand-in for the driver may lack a version, which is then 0, and UUIDs: GPUs are then named as in
    CUDA_VISIBLE_DEVICES.
    """
    driver, version, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int()
    if hasattr(driver, "cuDriverGetVersion"):
        driver.cuDriverGetVersion(ctypes.byref(version))
    named = [*filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))]
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        count.value = 0
    gpus = []
    for index in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        digits = ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        label = name.value.decode(errors="replace")
        if hasattr(driver, "cuDeviceGetUuid_v2"):
            driver.cuDeviceGetUuid_v2(digits, device)
            identity = f"{'MIG' if ' MIG ' in label else 'GPU'}-{uuid.UUID(bytes=digits.raw)}"
        else:
            identity = named[index] if named else f"{index}"
        gpus.append((label, memory.value, identity))
    print(json.dumps([version.value, gpus]))


if __name__ == "__main__":
    main()
