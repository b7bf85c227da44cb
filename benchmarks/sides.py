"""Two sides of a benchmark: their time in one process, their memory in a process each, as a row of the results."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

COLUMNS = ["what", "task", "reference", "ours", "ratio_median", "ratio_min", "ratio_max"]
MEMORY = "peak memory above weights"  # in bytes; all other rows are in seconds
SIDES = ("reference", "ours")
Row = dict[str, str | float]
Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Return the wall seconds of one call."""
    gc.collect()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def against(what: str, task: str, reference: Work, ours: Work, repeats: int, warm_up: bool = True) -> Row:
    """Time both alternately, by default after one warm-up each, and compare pair by pair."""
    if warm_up:
        reference(), ours()
    pairs = [(seconds(reference), seconds(ours)) for _ in range(repeats)]
    ratios = [theirs / mine for theirs, mine in pairs]
    theirs, mine = (median(side) for side in zip(*pairs, strict=True))
    row = [what, task, theirs, mine, median(ratios), min(ratios), max(ratios)]
    print(f"{what:28} {task:22} {median(ratios):.2f}x", file=sys.stderr, flush=True)
    return dict(zip(COLUMNS, row, strict=True))


def memory(task: str, script: str, *flags: object, sides: tuple[str, str] = SIDES) -> Row:
    """Return what `script FLAGS --peak SIDE` prints for each side, in a process of its own."""
    command = [sys.executable, script, *map(str, flags), "--peak"]
    theirs, mine = (_printed([*command, side]) for side in sides)
    print(f"{MEMORY:28} {task:22} {theirs / mine:.2f}x", file=sys.stderr, flush=True)
    return dict(zip(COLUMNS, [MEMORY, task, theirs, mine, *[theirs / mine] * 3], strict=True))


def _printed(command: Sequence[str]) -> float:
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def peak(work: Work) -> float:
    """Return the most bytes that this process held during the work."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        work()
        return float(torch.cuda.max_memory_allocated())
    # This resets Linux's record of the peak, such as that of loading.
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return _field("VmHWM")


def held() -> float:
    """Return the bytes that this process holds: on the GPU, else resident."""
    return float(torch.cuda.memory_allocated()) if torch.cuda.is_available() else _field("VmRSS")


def _field(name: str) -> float:
    """Return a memory field of this process in bytes, as Linux reports it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return float(line.split()[1]) * 1024
