"""The table of devices, and the entry of this machine's device; without torch."""

import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil
import yaml

from hfprune.devices.visible import visible_devices
from hfprune.errors import HfpruneError

# The share of its peak that a device reaches in a job, loading and starts aside. 4,618 results of the studies had
# recorded it on CPUs, some of them shared: its median was 0.43, and 90 % were between 0.09 and 0.66; over all it
# was 0.35 of the wall's time and 0.48 of the processors'. A prefill of the paper's Table 4, on an A6000: 0.38.
UTILISATION = 0.4
# Where Linux lists the instructions of the processor.
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Device:
    """A device: its memory and peak speed, from the table or the driver."""

    name: str
    memory: float
    """Bytes."""
    float32: float
    """Peak in operations per second; of one core for a CPU."""
    bfloat16: float
    """Peak in bfloat16 or float16, as `float32`."""
    cores: int = 0
    """Cores, each of which runs a job of one thread; 0 for a GPU, which runs one job at a time."""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU, which the table gives no cores."""
        return not self.cores

    def peak(self, dtype: str) -> float:
        """Return the peak in operations per second for a dtype."""
        return self.float32 if dtype == "float32" else self.bfloat16


@cache
def _table() -> dict[str, dict]:
    return yaml.safe_load(Path(__file__).with_name("devices.yaml").read_text())


@cache
def known_devices() -> dict[str, Device]:
    """Return the devices of `devices.yaml` by name; a CPU has two cores."""
    devices = {}
    for name, entry in _table().items():
        cores = 2 if "flags" in entry else 0
        speeds = 1e12 * entry["float32"], 1e12 * entry["bfloat16"]
        devices[name] = Device(name, 1e9 * entry["memory"], *speeds, cores)
    return devices


def table_device(name: str, *others: str) -> Device:
    """Return a device of the table.

    Raises:
        HfpruneError: there is none of this name; lists `others`, names that the caller knows, and the table's.
    """
    if name not in known_devices():
        raise HfpruneError(f"unknown device {name!r}; known: {', '.join((*others, *known_devices()))}")
    return known_devices()[name]


def visible_device() -> Device | None:
    """Return the visible GPU with the least memory, without importing torch; None if there is none."""
    smallest = min(visible_devices(), key=lambda gpu: gpu.memory, default=None)
    return smallest and named_device(smallest.name, smallest.memory)


def named_device(name: str, memory: float) -> Device:
    """Return the GPU that the driver calls `name`; one outside the table counts as fast as its slowest."""
    text = name.lower()
    for key, entry in _table().items():
        says = entry.get("says", [])
        if "laptop" not in text and any(re.search(rf"{re.escape(part)}\b", text) for part in says):
            return replace(known_devices()[key], memory=memory)
    return replace(slowest_gpu(), name=name, memory=memory)


def slowest_gpu() -> Device:
    """Return the GPU of the table with the lowest peak in bfloat16."""
    return min(
        (device for device in known_devices().values() if device.on_gpu), key=lambda device: device.bfloat16
    )


def nominal_cpu() -> Device:
    """Return this machine's CPU: its own memory and cores, and the table's speed for its instruction set."""
    here = set(CPUINFO.read_text().split()) if CPUINFO.exists() else set()
    *_, name = (name for name, entry in _table().items() if here.issuperset(entry.get("flags", "-")))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return replace(known_devices()[name], memory=float(psutil.virtual_memory().total), cores=cores)
