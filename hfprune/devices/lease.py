"""The device of a process: the CPU, or a GPU that no other process of this project holds."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from hfprune.devices.visible import visible_devices, visible_gpus

POLL_SECONDS = 1.0
# GPUs held by this process or its parents; child processes inherit the variable and compute there, too.
LEASED = "HFPRUNE_LEASED"
# Folder for locks, if containers on one machine are to share it.
LOCKS = "HFPRUNE_LOCKS"

# A lock ends with its process, so a killed process frees its device.
_held: list[FileLock] = []


@cache
def default_device() -> torch.device:
    """Return the CPU, or the CUDA device that this process leases until it ends.

    Snakemake runs as many jobs at a time as there are GPUs, but does not assign GPUs to jobs. After a lease the
    process sees no other GPU, unless it has used CUDA before.

    Raises:
        HfpruneError: there are GPUs that torch cannot use.
    """
    if not visible_gpus():
        return torch.device("cpu")
    names = [gpu.uuid for gpu in visible_devices()]  # the same in all processes, and valid as a file's
    mine = [number for number, name in enumerate(names) if name in _leased()]
    index = mine[0] if mine else lease(names)
    if 1 < len(names) != len(mine):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[index]
        # If CUDA has started already, it still sees all GPUs.
        index = index if torch.cuda.device_count() == len(names) else 0
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def lease_all() -> None:
    """Lease every visible GPU until this process ends; wait for those that others hold."""
    # In sorted order, so that no two processes wait for each other.
    for name in sorted(gpu.uuid for gpu in visible_devices()):
        if name not in _leased():
            lease([name])


def _leased() -> list[str]:
    return os.environ.get(LEASED, "").split(",")


def lease(names: Sequence[str]) -> int:
    """Return the index of the first free device of these names, and hold it until this process ends.

    While none is free, print a message once and wait.
    """
    # One folder per user, since a process cannot open another user's files.
    folder = Path(os.environ.get(LOCKS) or tempfile.gettempdir()) / f"hfprune-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while True:
        for index, name in enumerate(names):
            lock = FileLock(folder / f"{name}.lock", blocking=False)
            with suppress(Timeout):
                lock.acquire()
                _held.append(lock)
                os.environ[LEASED] = ",".join([*filter(None, _leased()), name])
                return index
        if not told:
            every = f"all {len(names)} GPUs are" if len(names) > 1 else "a GPU is"
            print(f"{every} taken (locks in {folder}); waiting for one", file=sys.stderr)
            told = True
        time.sleep(POLL_SECONDS)
