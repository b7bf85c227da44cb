"""The table of devices, with sources, and the entry of the GPU that the driver shows; free of torch."""

import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil
import yaml

from hfprune.devices.visible import visible_devices
from hfprune.errors import HfpruneError

# Seconds of a start, from the shell to loaded libraries: on a CPU measured; on a GPU an assumption, which has a
# context and kernels on top.
GPU_START, CPU_START = 13.0, 4.0
# The share of a GPU's peak that jobs reach: an assumption, since none was at hand, by what the paper's Table 4
# gives for a prefill on an A6000 (38 %).
GPU_SHARE = 0.4
# Where Linux lists the instructions of the processor.
CPUINFO = Path("/proc/cpuinfo")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Device:
    """A device, and the speed of jobs on it."""

    name: str
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second; of one core if it is a CPU."""
    rates: dict[str, float]
    """Operations a second that jobs reach, by dtype; of one core if it is a CPU."""
    source: str
    cores: int = 0
    """Cores, each of which runs a job of one thread; 0: a GPU, which runs one job at a time."""
    start: float = GPU_START
    """Seconds of the start of a job."""
    guessed: bool = False
    """Whether the table lacks it, so that its speed is a guess."""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return not self.cores


@cache
def known_devices() -> dict[str, Device]:
    """Return the devices of `devices.yaml` by name."""
    found = {}
    for name, entry in _table().items():
        cpu = "flags" in entry
        found[name] = Device(
            name,
            memory=1e9 * entry["memory"],
            bandwidth=1e9 * entry["bandwidth"],
            rates={dtype: 1e12 * entry[dtype] * (1 if cpu else GPU_SHARE) for dtype in DTYPES},
            source=entry["source"],
            cores=2 * cpu,
            start=CPU_START if cpu else GPU_START,
        )
    return found


@cache
def _table() -> dict[str, dict]:
    return yaml.safe_load(Path(__file__).with_name("devices.yaml").read_text())


def table_device(name: str, known: str = "{}; `--device here` measures this machine's") -> Device:
    """Return a device of the table; `known` says what a name may be, with `{}` for those of the table."""
    if name not in known_devices():
        raise HfpruneError(f"unknown device {name!r}; known: {known.format(', '.join(known_devices()))}")
    return known_devices()[name]


def visible_device() -> Device | None:
    """Return the smallest GPU that the driver shows, without importing torch; None if there is none.

    Its memory is what the driver says. A GPU that the table lacks has the speed of the table's slowest.
    """
    found = visible_devices()
    if not found:
        return None
    least = min(found, key=lambda gpu: gpu.memory)
    return named_device(least.name, least.memory)


def named_device(name: str, memory: float) -> Device:
    """Return the device that the driver calls `name`."""
    text = name.lower()
    for key, entry in _table().items():
        says = entry.get("says", [])
        if "laptop" not in text and any(re.search(rf"{re.escape(part)}\b", text) for part in says):
            return replace(known_devices()[key], memory=memory)
    slowest = slowest_gpu()
    said = f"unknown, so taken to be as fast as {slowest.name}"
    return replace(slowest, name=name, memory=memory, source=said, guessed=True)


def slowest_gpu() -> Device:
    """Return the slowest GPU of the table."""
    gpus = [device for device in known_devices().values() if device.on_gpu]
    return min(gpus, key=lambda device: device.rates["bfloat16"])


def nominal_cpu() -> Device:
    """Return this machine's memory and cores with the speed that the table gives its instructions, without torch.

    It is the last CPU of the table whose instructions the system lists; the first where it lists none.
    """
    try:
        here = set(CPUINFO.read_text().split())
    except OSError:
        here = set()
    fitting = [
        name for name, entry in _table().items() if "flags" in entry and here.issuperset(entry["flags"])
    ]
    return replace(
        known_devices()[fitting[-1]], memory=float(psutil.virtual_memory().total), cores=core_count()
    )


def core_count() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
