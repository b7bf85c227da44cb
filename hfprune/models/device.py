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
    names, locks = _visible()
    device = torch.device("cuda", 0 if all(_mine(locks, name) for name in names) else lease(names, locks))
    torch.cuda.set_device(device)
    return device


def lease_all() -> None:
    """Lease every visible GPU until this process ends, one after the other while others hold them."""
    names, locks = _visible()
    # In one order, so that no two processes wait for each other.
    for name in sorted(names):
        if not _mine(locks, name):
            lease([name], locks)


def _visible() -> tuple[list[str], Path]:
    """Return the UUIDs of the visible GPUs, and the folder of their locks."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
    # One folder per user, since a process cannot open another user's lock files.
    return names, Path(tempfile.gettempdir()) / f"hfprune-devices-{os.getuid()}"


def _mine(folder: Path, name: str) -> bool:
    return any(lock.lock_file == str(folder / f"{name}.lock") for lock in _held)


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
            taken = f"all {len(names)} GPUs are taken" if len(names) > 1 else "a GPU is taken"
            print(f"{taken} (locks in {folder}); waiting for one", file=sys.stderr)
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
