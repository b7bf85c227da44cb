"""The cost of every job of a study on a device: time, memory and its share of the device."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hfprune.assets.catalogue import LocalSource
from hfprune.cost.work import LOGIT, Work
from hfprune.cost.workload import Workload
from hfprune.devices.known import UTILISATION, Device, nominal_cpu
from hfprune.errors import HfpruneError
from hfprune.measurement import DECODED
from hfprune.models.shape import Shape, known_shapes, shape_of
from hfprune.stages import Stage
from hfprune.stages.measure import MeasureCells
from hfprune.study.files import Files

if TYPE_CHECKING:
    from hfprune.cost.timed import TimedCpu

# The model whose size models of unknown size are assumed to have.
LARGEST = "qwen2.5-7b"
# Seconds from the shell to loaded libraries, and on a GPU to its context and kernels.
CPU_START, GPU_START = 4.0, 13.0
# Bytes per second at which weights are read; bytes of a process with all libraries.
READ, PROCESS = 1e9, 1.2e9
# Limits as multiples of the prediction, and at least so many minutes; each further attempt adds as much again.
TIME_MARGIN, MEMORY_MARGIN, LEAST_MINUTES = 3.0, 1.3, 30


@dataclass(frozen=True)
class JobCost:
    """The cost of one job of a study: wall seconds, peak bytes and its share of the device."""

    stage: str
    about: str
    """The model, and the cell if there is one."""
    seconds: float
    main_memory: float
    gpu_memory: float
    """Bytes on a GPU; 0 if the job uses none."""
    share: float
    """Number of GPUs in use, or share of the CPU."""

    def limits(self, attempt: int = 1, longest: int | None = None) -> dict[str, int]:
        """Return the limits of an attempt: MB of main memory and of GPU memory, and minutes, at most `longest`."""
        memory = {"mem_mb": self.main_memory, "gpu_mem_mb": self.gpu_memory}
        limits = {name: math.ceil(MEMORY_MARGIN * attempt * size / 1e6) for name, size in memory.items()}
        minutes = attempt * max(LEAST_MINUTES, math.ceil(TIME_MARGIN * self.seconds / 60))
        return limits | {"runtime": min(minutes, longest or minutes)}


class Costs:
    """The predicted cost of a study's jobs on a device."""

    def __init__(
        self,
        files: Files,
        jobs: Iterable[Stage],
        device: Device,
        timed: "TimedCpu | None" = None,
        kept: set[str] | None = None,
    ) -> None:
        """Find the sizes of the models, also of fetched ones; models of unknown size count as `LARGEST`.

        The speed is the table's, or as `timed` on this machine's processors; for `kept` see `Workload`.
        """
        self.files, self.study, self.jobs = files, files.study, [*jobs]
        self.on_disk = self.study.device_map == "disk"
        self.device = device = nominal_cpu() if self.on_disk and device.on_gpu else device
        self.start = GPU_START if device.on_gpu else CPU_START
        self.shapes: dict[str, Shape] = {}
        self.guessed: list[str] = []
        """Models of unknown size."""
        for model in self.study.models:
            source = files.catalogue.models[model].source
            own = [source.path] if isinstance(source, LocalSource) else []
            try:
                self.shapes[model] = shape_of(model, [files.asset("models", model), *own])
            except HfpruneError:
                self.guessed.append(model)
                self.shapes[model] = known_shapes()[LARGEST]
        self.timed = timed
        self.work = Workload(files, self.shapes, device, (timed or device).peak, kept)

    @cached_property
    def by_job(self) -> list[JobCost]:
        """The cost of every job, in the order of `jobs`."""
        return [*map(self.cost_of, self.jobs)]

    @property
    def longest(self) -> JobCost:
        """The cost of the job that takes the most seconds."""
        return max(self.by_job, key=lambda cost: cost.seconds)

    @property
    def largest(self) -> JobCost:
        """The cost of the job that takes the most memory of the device."""
        return max(self.by_job, key=self.memory)

    def memory(self, cost: JobCost) -> float:
        """Return the bytes that a job takes of the device's memory: GPU memory, or else main memory."""
        return cost.gpu_memory if self.device.on_gpu else cost.main_memory

    def hours(self, devices: int = 1) -> float:
        """Return the hours of the study on `devices` devices, at least those of its longest job."""
        shared = sum(cost.seconds * cost.share for cost in self.by_job) / devices
        return max(shared, self.longest.seconds) / 3600

    def cost_of(self, job: Stage) -> JobCost:
        """Return the cost of a job."""
        work = self.work.work_of(job)
        on_gpu, cores = self.device.on_gpu, self.device.cores if job.takes == "machine" else 1
        # With a device map, the rest lies on other devices; with `disk`, weights stay in files.
        held = min(work.memory, self.device.memory) if self.study.device_map else work.memory
        if self.on_disk and work.loaded:
            held = max(work.memory - self.shapes[job.model_name()].weights(work.dtype), 0.0)
        # On a GPU a model passes through main memory; CUDA's libraries are as large as the others.
        passing = PROCESS + self.shapes[job.model_name()].weights(work.dtype) if work.loaded else work.memory
        return JobCost(
            job.stage if not isinstance(job, MeasureCells) else f"measure {', '.join(job.measures)}",
            job.about(),
            self.start + work.loaded / READ + work.seconds + self._computing(job.stage, work, cores),
            main_memory=PROCESS + max(passing if on_gpu else held, work.text),
            gpu_memory=held if on_gpu and work.computes else 0,
            share=work.computes if on_gpu else cores / self.device.cores,
        )

    def _computing(self, stage: str, work: Work, cores: int) -> float:
        """Return the seconds of a stage's passes and decoding on a GPU, or on `cores` cores."""
        if self.timed:
            return self.timed.seconds(stage, work) * self.device.cores / cores
        return nominal_seconds(self.device, work) / (1 if self.device.on_gpu else cores)


def nominal_seconds(device: Device, work: Work) -> float:
    """Return the seconds of passes, losses and decoding at the table's speed of a GPU, or of one core.

    A GPU forms losses as fast as it reads logits, which is left out.
    """
    operations = work.flops + 2 * DECODED * work.products * sum(work.steps.values())
    losses = 0 if device.on_gpu else LOGIT * work.logits
    return operations / (UTILISATION * device.peak(work.dtype)) + losses
