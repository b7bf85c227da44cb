"""The device of a process: the CPU, or a GPU that no other process of this project holds.

`accelerate launch` starts several processes for one job. Their GPUs are leased before, by `launch`; where a user
starts them, each leases the one that accelerate gives it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from hfprune.devices.visible import visible_devices, visible_gpus
from hfprune.errors import HfpruneError

POLL_SECONDS = 1.0
# The GPUs that this process or one that started it holds; those that it starts compute there, too.
LEASED = "HFPRUNE_LEASED"
# A folder for the locks that containers on one machine share; else each has its own.
LOCKS = "HFPRUNE_LOCKS"

# A lock ends with its process, so a killed process frees its device.
_held: list[FileLock] = []


@cache
def default_device() -> torch.device:
    """Return the CPU, or the CUDA device that this process leases until it ends.

    Snakemake runs as many jobs at a time as there are GPUs, but does not assign GPUs to jobs. From then on a
    process sees no other GPU, unless it used CUDA before.

    Raises:
        HfpruneError: the GPU that `accelerate launch` gives this process is taken, or there is none; or there
            are GPUs that torch cannot use.
    """
    if not visible_gpus():
        return torch.device("cpu")
    names = _names()
    if launched():
        index = _launched_device(names)
    else:
        mine = [number for number, name in enumerate(names) if name in _leased()]
        index = (mine or lease(names, _locks()))[0]
        if 1 < len(names) != len(mine):
            os.environ["CUDA_VISIBLE_DEVICES"] = names[index]
            # If CUDA started before, it still sees all.
            index = index if torch.cuda.device_count() == len(names) else 0
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def lease_all() -> None:
    """Lease every visible GPU until this process ends, one after the other while others hold them."""
    # In one order, so that no two processes wait for each other.
    for name in sorted(_names()):
        if name not in _leased():
            lease([name], _locks())


def _leased() -> list[str]:
    return os.environ.get(LEASED, "").split(",")


def launched() -> bool:
    """Tell whether `accelerate launch` started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def is_main() -> bool:
    """Tell whether this process writes the files: the first of several."""
    return not launched() or os.environ["RANK"] == "0"


def launch(processes: int) -> int:
    """Run this very command in so many processes, each on a free GPU if there are any, and return its exit code.

    Raises:
        HfpruneError: there are GPUs, but fewer.
    """
    environment = dict(os.environ)
    if names := _names():
        _require(processes, names)
        taken = [names[index] for index in lease(names, _locks(), processes)]
        environment |= dict.fromkeys(("CUDA_VISIBLE_DEVICES", LEASED), ",".join(taken))
    # Without GPUs too: with --cpu, accelerate starts one process only. Port 0: any that is free.
    flags = f"--multi_gpu --num_processes {processes} --num_machines 1 --main_process_port 0".split()
    flags += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "hfprune", *sys.argv[1:]]
    job = subprocess.Popen([sys.executable, "-m", "accelerate.commands.launch", *flags], env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: job.terminate())
    try:
        return job.wait()
    except KeyboardInterrupt:  # which the job gets, too
        job.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def lease(names: Sequence[str], folder: Path, count: int = 1) -> list[int]:
    """Return the indices of the first free devices, and hold them until this process ends.

    While too few are free, hold none, print a message once and wait.

    Args:
        names: names of the devices, valid as file names; at least `count`.
        folder: folder of the lock files, one per device.
        count: number of devices.
    """
    told = False
    while True:
        found: dict[int, FileLock] = {}
        for index, name in enumerate(names):
            if len(found) < count and (lock := _lock(folder, name)):
                found[index] = lock
        if len(found) == count:
            _held.extend(found.values())
            os.environ[LEASED] = ",".join([*filter(None, _leased()), *(names[index] for index in found)])
            return [*found]
        for lock in found.values():
            lock.release()
        if not told:
            every = f"all {len(names)} GPUs are" if len(names) > 1 else "a GPU is"
            taken = every if count == 1 else f"{len(names) - len(found)} of {len(names)} GPUs are"
            wanted = "one" if count == 1 else count
            print(f"{taken} taken (locks in {folder}); waiting for {wanted}", file=sys.stderr)
            told = True
        time.sleep(POLL_SECONDS)


def _launched_device(names: Sequence[str]) -> int:
    """Return the index of the GPU that accelerate gives this process, leased."""
    index = int(os.environ["LOCAL_RANK"])
    _require(int(os.environ["LOCAL_WORLD_SIZE"]), names)
    if names[index] not in _leased():
        lock = _lock(_locks(), names[index])
        if lock is None:
            raise HfpruneError(
                f"GPU {index} is taken by another job; name free ones in CUDA_VISIBLE_DEVICES, or give "
                "`hfprune recover --processes` in place of accelerate launch, which finds them"
            )
        _held.append(lock)
    return index


def _require(processes: int, names: Sequence[str]) -> None:
    if processes > len(names):
        raise HfpruneError(
            f"{processes} processes need as many GPUs, but {len(names)} are visible; start fewer"
        )


def _names() -> list[str]:
    """Return a name of every visible GPU, the same in all processes."""
    return [gpu.uuid for gpu in visible_devices()]


def _locks() -> Path:
    """Return the folder of the locks; one per user, since a process cannot open another user's files."""
    return Path(os.environ.get(LOCKS) or tempfile.gettempdir()) / f"hfprune-devices-{os.getuid()}"


def _lock(folder: Path, name: str) -> FileLock | None:
    """Return the lock of a device, held, or None if another process holds it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock
