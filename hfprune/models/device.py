"""The device of a process: the CPU, or a GPU that no other process of this project holds."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

POLL_SECONDS = 1.0

# A lock ends with its process, so a killed process frees its device.
_held: list[FileLock] = []


@cache
def default_device() -> torch.device:
    """Return the CPU, or the CUDA device that this process leases until it ends.

    Snakemake runs as many jobs at a time as there are GPUs, but does not assign GPUs to jobs. The devices
    visible under CUDA_VISIBLE_DEVICES are identified by their UUIDs, which are the same in every process.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
    # One folder per user, since a process cannot open another user's lock files.
    locks = Path(tempfile.gettempdir()) / f"hfprune-devices-{os.getuid()}"
    device = torch.device("cuda", lease(names, locks))
    torch.cuda.set_device(device)
    return device


def lease(names: Sequence[str], folder: Path) -> int:
    """Return the index of the first free device, and hold it until this process ends.

    While no device is free, print a message once and wait.

    Args:
        names: names of the devices, valid as file names.
        folder: folder of the lock files, one per device.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while True:
        for index, name in enumerate(names):
            if _lock(folder / f"{name}.lock"):
                return index
        if not told:
            print(f"all {len(names)} GPUs are taken (locks in {folder}); waiting for one", file=sys.stderr)
            told = True
        time.sleep(POLL_SECONDS)


def _lock(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    _held.append(lock)
    return True
