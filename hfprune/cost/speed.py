"""How long work takes on a device."""

from hfprune.devices.table import Device
from hfprune.evaluation.work import Work

# Seconds of one call of a decoder layer by the interpreter.
CALL = 4e-4
# Bytes a second at which weights are read and converted, and seconds in which a job builds its model; measured.
READ, BUILD = 1e9, 2.0
# How much faster than the passes of a model, which the table has, a CPU computes the large products of linear
# recovery: those of Qwen2.5-0.5B took 181 s on two threads, where the passes' speed makes it 364.
LARGE = 2
# Bytes of a process with all libraries, without weights.
PROCESS = 1.2e9


def seconds(device: Device, work: Work, dtype: str, threads: int = 1) -> float:
    """Return the time of a job's work, without its start.

    On a CPU products, traffic and the interpreter follow each other. On a GPU the interpreter runs ahead, so
    that the slower of the two counts.
    """
    threads = min(threads, device.cores) if device.cores else 1
    single = device.rates["float32"] * (1 if device.on_gpu else LARGE)
    computed = (
        work.flops / device.rates[dtype] + work.single / single + work.moved / device.bandwidth
    ) / threads
    calls = work.calls * CALL
    return loading(work) + (max(computed, calls) if device.on_gpu else computed + calls)


def loading(work: Work) -> float:
    """Return the seconds in which a job loads its models."""
    return BUILD + work.loaded / READ if work.loaded else 0.0
