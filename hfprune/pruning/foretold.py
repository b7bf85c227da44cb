"""How long a call takes: foretold before the first long step, and corrected by the steps that were taken."""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch

from hfprune.cost.costs import CONTEXT, Costs
from hfprune.devices.known import UTILISATION, Device, nominal_cpu, visible_device
from hfprune.files import read_json
from hfprune.pruning.sample import READ
from hfprune.stages import Stage
from hfprune.study.files import Files

# A prediction that weighs as much as so many seconds of steps that were taken.
TRUSTED = 60.0
# The seconds of each finished step, in the folder of the call.
SECONDS = "seconds.json"
# Steps before the first long one.
SHORT = ("pack", "budget", "calibrate")
# Steps of the comparison; all others lead to the model.
COMPARING = ("measure", "sample")


class Foretold:
    """What is left of a call, in predicted seconds of each step by its title."""

    def __init__(self) -> None:
        self.device = _device()
        self.left: dict[str, float] = {}
        self.comparing: set[str] = set()
        self._taken = self._predicted = TRUSTED
        self._is_announced = False

    def add(self, files: Files, jobs: Mapping[str, Stage], known: Collection[str] = ()) -> None:
        """Add the steps of a study but the `known` ones, which others have done, and those of an earlier call."""
        costs, record = Costs(files, jobs.values(), self.device), files.results / SECONDS
        earlier = read_json(record) if record.exists() else {}
        for (title, job), cost in zip(jobs.items(), costs.each, strict=True):
            there = title in earlier and all(file.exists() for file in job.outputs())
            if there or title in known or title in self.left:
                continue
            self.left[title] = (cost.seconds - costs.start) * cost.share
            if job.stage == "sample":  # a stage of `hfprune prune` alone
                (shape,) = costs.shapes.values()
                speed = self.device.peak(files.study.dtype) * (self.device.cores or 1) * UTILISATION
                self.left[title] = shape.forward(READ, CONTEXT) / speed
            # The losses of a sweep choose the model.
            if job.stage in COMPARING and title != "measure":
                self.comparing.add(title)

    def done(self, title: str, seconds: float | None) -> None:
        """Count a step as done, in so many seconds; None if it was there."""
        predicted = self.left.pop(title, 0.0)
        if seconds is not None:
            self._taken, self._predicted = self._taken + seconds, self._predicted + predicted

    def minutes(self, *, comparing: bool) -> float:
        """Return the minutes to the model, or those of the comparison, at the pace of the steps so far."""
        seconds = sum(x for title, x in self.left.items() if (title in self.comparing) == comparing)
        return seconds * self._taken / self._predicted / 60

    def is_due(self, title: str) -> bool:
        """Tell whether to announce before this step, the first long one: then the text is known to suffice."""
        return not self._is_announced and title in self.left and title not in SHORT

    def announced(self) -> str:
        """Return a line about all steps that are left, after which `to_go` speaks, too."""
        self._is_announced = True
        model, then = self.minutes(comparing=False), self.minutes(comparing=True)
        comparison = f", then about {then:.1f} for the comparison" if then else ""
        return (
            f"about {model:.1f} minutes to the model{comparison}, if the machine stays as fast as it is now"
        )

    def to_go(self) -> str:
        """Return how long it takes from here, or "" for less than a minute."""
        minutes = self.minutes(comparing=False) + self.minutes(comparing=True)
        unit = "minute" if round(minutes) == 1 else "minutes"
        return f" (about {minutes:.0f} {unit} to go)" if self._is_announced and minutes >= 1 else ""


def _device() -> Device:
    """Return the device with the speed that it has now: others may share a processor."""
    if gpu := visible_device():
        return gpu
    cpu = nominal_cpu()
    share = _operations_per_second() / (cpu.float32 * cpu.cores)
    return replace(cpu, float32=share * cpu.float32, bfloat16=share * cpu.bfloat16)


def _operations_per_second(size: int = 1024, patience: float = 1.0) -> float:
    """Time products of float32 matrices on all cores."""
    matrix = torch.rand(size, size)
    matrix @ matrix
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < patience:
        matrix @ matrix
        products += 1
    return products * 2 * size**3 / (time.perf_counter() - start)
