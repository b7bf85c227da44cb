"""The device a process computes on; of several GPUs, one that no other process of this project holds."""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

import torch

POLL_SECONDS = 1.0

# A lock lasts as long as its open file, so a process that is killed gives its device back.
_held: list[TextIO] = []


@cache
def default_device() -> torch.device:
    """Return the CPU, or the CUDA device that this process leases until it ends.

    Snakemake runs as many jobs at a time as there are GPUs, but tells none of them which to use. Devices are
    those that CUDA_VISIBLE_DEVICES leaves, told apart by their UUIDs, which are the same in every process.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
    # The user's own, since a stranger's lock files cannot be opened.
    locks = Path(tempfile.gettempdir()) / f"hfprune-devices-{os.getuid()}"
    device = torch.device("cuda", lease(names, locks))
    torch.cuda.set_device(device)
    return device


def lease(names: Sequence[str], folder: Path) -> int:
    """Return the index of the first device that nobody holds, and hold it until this process ends.

    Waits, after saying so, while all of them are taken.

    Args:
        names: of the devices, as file names.
        folder: of the lock files, one a device.
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
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held.append(file)
    return True
