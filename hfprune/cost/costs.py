"""What every job of a study does on a device: its time, memory and operations.

Each stage with work of its own has one function in `STAGES`, which reads the settings of the job.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hfprune.assets.catalogue import LocalSource
from hfprune.assets.text_sizes import pairs_to_learn
from hfprune.calibration.sizes import most_open
from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.criteria import StudentCriterion
from hfprune.devices.batches import WRITTEN_AT_ONCE, training_tokens
from hfprune.devices.known import UTILISATION, Device
from hfprune.errors import HfpruneError
from hfprune.models.shape import BYTES, Shape, known_shapes, shape_of
from hfprune.scoring.fitting import ScoringCost
from hfprune.settings.recovery import Linear, measured_steps
from hfprune.stages import Stage
from hfprune.study.calibration import Calibrated, Calibration
from hfprune.study.files import Files

# The size that a model of unknown size is taken to have.
LARGEST = "qwen2.5-7b"
# Tokens that a token is paired with in the attention of measures.
CONTEXT = 256
# Seconds from the shell to loaded libraries, and on a GPU to its context and kernels.
CPU_START, GPU_START = 4.0, 13.0
# Bytes a second at which weights are read; bytes of a process with all libraries, and of a file of C4.
READ, PROCESS, TEXT = 1e9, 1.2e9, 3e9
# Bytes of a packed token, with label and position; tokens of instruction pairs that a core tokenizes a second.
PACKED, TOKENIZED = 12, 3e5
# Seconds in which a layer's operations are started, for one token of all blocks at a time.
STARTED = 1e-3
# A job may take this many times what is predicted, and at least half an hour, before it is stopped; each further
# attempt may take as much again.
TIME_MARGIN, MEMORY_MARGIN, LEAST_MINUTES = 3.0, 1.3, 30


@dataclass(frozen=True)
class Work:
    """What a job does beyond its start; without operations, it takes one core and no GPU."""

    flops: float = 0
    dtype: str = "float32"
    memory: float = 0
    """Bytes on the device at the peak, weights included."""
    loaded: float = 0
    """Bytes of weights that it reads from disk."""
    seconds: float = 0
    """Time of all else."""
    text: float = 0
    """Bytes of main memory for a text, before the model is loaded."""


@dataclass(frozen=True)
class JobCost:
    """What one job of a study takes: wall seconds, peak bytes and its share of the device."""

    stage: str
    about: str
    """The model, and the cell where there is one."""
    seconds: float
    main_memory: float
    gpu_memory: float
    """Bytes on a GPU; 0 if it takes none."""
    share: float
    """GPUs that it occupies, or its part of the CPU."""

    def limits(self, attempt: int = 1, longest: int | None = None) -> dict[str, int]:
        """Return what an attempt may take: MB of main memory and of a GPU's, and at most `longest` minutes."""
        memory = {"mem_mb": self.main_memory, "gpu_mem_mb": self.gpu_memory}
        found = {name: math.ceil(MEMORY_MARGIN * attempt * size / 1e6) for name, size in memory.items()}
        minutes = attempt * max(LEAST_MINUTES, math.ceil(TIME_MARGIN * self.seconds / 60))
        return found | {"runtime": min(minutes, longest or minutes)}


class Costs:
    """The predicted cost of a study's jobs on a device."""

    def __init__(self, files: Files, jobs: Iterable[Stage], device: Device) -> None:
        """Find the sizes of the models, in the folder of fetched assets too; unknown ones count as `LARGEST`."""
        self.files, self.study, self.jobs, self.device = files, files.study, [*jobs], device
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

    @cached_property
    def each(self) -> list[JobCost]:
        """The cost of every job, in the order of `jobs`."""
        return [*map(self.of, self.jobs)]

    @property
    def longest(self) -> JobCost:
        """The cost of the job that takes the most seconds."""
        return max(self.each, key=lambda cost: cost.seconds)

    @property
    def largest(self) -> JobCost:
        """The cost of the job that takes the most memory of the device."""
        return max(self.each, key=self.memory)

    def memory(self, cost: JobCost) -> float:
        """Return the bytes that a job takes of the device's memory: of a GPU's, else of main memory."""
        return cost.gpu_memory if self.device.on_gpu else cost.main_memory

    def hours(self, devices: int = 1) -> float:
        """Return the hours of the study on so many devices: at least those of its longest job."""
        taken = sum(cost.seconds * cost.share for cost in self.each) / devices
        return max(taken, self.longest.seconds) / 3600

    def of(self, job: Stage) -> JobCost:
        """Return the cost of a job; a stage that is not in `STAGES` takes seconds of a core."""
        settings: Any = job
        work = STAGES[job.stage](self, settings) if job.stage in STAGES else Work()
        on_gpu, cores = self.device.on_gpu, self.device.cores if job.takes == "machine" else 1
        at_peak = work.flops / self.device.peak(work.dtype) / (1 if on_gpu else cores)
        # With a device map, what the device does not hold lies on others.
        held = min(work.memory, self.device.memory) if self.study.device_map else work.memory
        # On a GPU a model passes through main memory; CUDA's libraries are as large as the others.
        passing = PROCESS + self.shapes[job.model_name()].weights(work.dtype) if work.loaded else work.memory
        return JobCost(
            job.stage if job.stage != "measure" else f"measure {', '.join(settings.measures)}",
            job.about(),
            self.start + work.loaded / READ + work.seconds + at_peak / UTILISATION,
            main_memory=PROCESS + max(passing if on_gpu else held, work.text),
            gpu_memory=held if on_gpu and work.flops else 0,
            share=(work.flops > 0) if on_gpu else cores / self.device.cores,
        )

    # --- work by stage ------------------------------------------------------------------------------------

    def _text(self, _job: Any) -> Work:
        return Work(seconds=10, memory=TEXT)

    def _calibrate(self, job: Any) -> Work:
        if not job.continued_after:
            return self._text(job)
        read, shape, dtype = job.blocks, self.shapes[job.model_name()], job.dtype
        at_a_time = max(1, min(read.sequences, WRITTEN_AT_ONCE // read.length))
        steps = math.ceil(read.sequences / at_a_time) * (read.length - job.continued_after)
        kept = at_a_time * read.length * shape.cached(dtype)
        # Logits in the dtype and, to draw from, thrice in float64.
        logits = at_a_time * shape.vocabulary * (BYTES[dtype] + 24)
        return Work(
            shape.forward(read.sequences * read.length, read.length),
            dtype,
            memory=shape.weights(dtype) + kept + logits,
            loaded=shape.weights(dtype),
            seconds=10 + steps * shape.layers * STARTED,
            text=TEXT,
        )

    def _pack(self, job: Any) -> Work:
        pairs, tokens = pairs_to_learn(job.instructions)
        read = pairs * tokens
        return Work(seconds=10 + read / TOKENIZED, memory=TEXT + PACKED * read)

    def _score(self, job: Any) -> Work:
        read, criteria = self._calibration(job), self.files.criteria
        by_draw = {(name, *draw): job.sample(*draw, read.sequences) for name, *draw in job.each()}
        students = {
            sample for (name, *_), sample in by_draw.items() if isinstance(criteria[name], StudentCriterion)
        }
        last = max(each.stop for each in by_draw.values())
        scoring = replace(
            self._scoring(job, job.methods, job.units),
            open=most_open(by_draw.values()),
            by_students=sum(map(len, students)) / last,
        )
        memory = scoring.peak(read.length * scoring.fitting(read.length, job.batch_tokens))
        flops = scoring.operations(last * read.length, read.length)
        return Work(flops, scoring.dtype, memory, scoring.shape.weights(scoring.dtype))

    def _linear(self, job: Any) -> Work:
        read, shape = self._calibration(job), self.shapes[job.model_name()]
        tokens, weights = read.sequences * read.length, shape.weights(job.dtype)
        sums = 4 * (tokens * shape.hidden + 10 * shape.neurons**2 + 3 * (shape.neurons + shape.hidden) ** 2)
        kept = [self._cut(job.model_name(), cell).neurons for cell in job.named_cells()]
        # The pass is in the dtype, and all else in float32.
        faster = self.device.peak(job.dtype) / self.device.peak("float32")
        flops = solving(shape, job.linear, tokens, read.length, kept, faster)
        return Work(flops, "float32", weights + sums, weights)

    def _recover(self, job: Any) -> Work:
        settings, dtype, on_gpu = self.study.recovery, job.dtype, self.device.on_gpu
        assert settings is not None  # a study that trains has the section
        pairs, tokens = pairs_to_learn(self.files.asset("instructions", settings.instructions))
        sequences = pairs * tokens / settings.length
        steps = settings.max_steps or max(1, round(settings.epochs * sequences / settings.batch))
        measured = len(measured_steps(steps)) * min(settings.held_out, sequences / 10)
        at_once = job.batch_tokens or training_tokens(on_gpu=on_gpu)
        shape = self._cut(job.model_name(), *job.named_cells())
        # 4 N a token, since weights are frozen.
        read = (2 * steps * settings.batch + measured) * settings.length
        flops = shape.forward(read, settings.length)
        memory = training_memory(shape, at_once, dtype, on_gpu=on_gpu)
        if settings.loss == "kl":  # the dense model reads everything once
            dense = self.shapes[job.model_name()]
            flops += dense.forward(read - steps * settings.batch * settings.length, settings.length)
            memory += dense.weights(dtype)
        return Work(flops, dtype, memory, shape.weights(dtype))

    def _measure(self, job: Any) -> Work:
        dense, flops, memory = self.shapes[job.model_name()], 0.0, 0.0
        taken, dtype = [self.files.measures[name] for name in job.measures], job.dtype
        for cell, files in zip(job.named_cells(), job.cells, strict=True):
            cut = self._cut(job.model_name(), cell)
            for measure in taken:
                tokens, held = measure.tokens(), dense.reading(dtype, on_gpu=self.device.on_gpu)
                if measure.needs == "criterion":
                    read = self._calibration(job)
                    scoring = self._scoring(job, [cell.method], files.scored.units)
                    flops += scoring.operations(tokens * read.length, read.length)
                    held = scoring.peak(read.length * scoring.fitting(read.length))
                else:
                    plain = (cell.method, cell.recovery) == (DENSE, Recovery.NONE)
                    beside = measure.needs in ("beside", "reference") and not plain
                    on_plans = files.resampled and measure.resampled
                    read_by = Calibrated(cell.calibration, cell.sequences)
                    masked = self.study.resamples_of(cell.model, read_by) if on_plans else 0
                    flops += cut.forward(tokens, CONTEXT) + (beside + masked) * dense.forward(tokens, CONTEXT)
                    held += cut.weights(dtype) * (beside and measure.needs == "reference")
                memory = max(memory, held)
        return Work(flops, dtype, memory, len(job.cells) * dense.weights(dtype))

    def _calibration(self, job: Any) -> Calibration:
        """Return the calibration that a job reads, which is one for all its cells."""
        return self.study.calibrations[job.named_cells()[0].calibration]

    def _cut(self, model: str, cell: Cell) -> Shape:
        """Return what a cell has left of its model, as if neurons alone were removed."""
        return self.shapes[model].pruned(cell.ratio or 0)

    def _scoring(self, job: Any, methods: Iterable[str], units: Iterable[str]) -> ScoringCost:
        criteria, room = self.files.criteria, self.device.memory if self.device.on_gpu else math.inf
        chosen = {method: criteria[method] for method in methods}
        return ScoringCost(self.shapes[job.model_name()], chosen, [*units], job.dtype, room)


def training_memory(shape: Shape, tokens: float, dtype: str, *, on_gpu: bool) -> float:
    """Return the bytes that a step of training adapters takes, by so many tokens at a time."""
    # Logits in the dtype, and thrice in float32; the adapters are a hundredth of the weights.
    kept = shape.layers * shape.trained(dtype, on_gpu=on_gpu) + (BYTES[dtype] + 12) * shape.vocabulary
    return shape.weights(dtype) + tokens * kept


def solving(
    shape: Shape, settings: Linear, tokens: float, length: int, kept: Iterable[float], faster: float = 1
) -> float:
    """Return the operations of solving neurons' readers for plans that keep so many of a layer, without logits.

    Those of products count half, which reach twice the utilisation of passes (`hfprune.recovery.least_squares`).
    Those of the model's pass count less by how many times it is `faster` than all else, which is in float32.
    """
    large = tokens * shape.neurons**2 * 9 / 16  # a half of the Gram matrix, in eight stripes
    tried = min(4, len(settings.ridges))
    for n in kept:
        # A Cholesky for each λ that is tried, with products for 128 combinations of outputs, and one for all.
        large += (tried + 1) * n**3 / 3 + 256 * tried * n**2
        large += shape.hidden * (n**2 + (shape.neurons - n) * shape.neurons)
    head = 2 * tokens * shape.hidden * shape.vocabulary
    return (shape.forward(tokens, length) - head) / faster + shape.layers * large


STAGES: dict[str, Callable[[Costs, Any], Work]] = {
    "fetch": Costs._text,
    "calibrate": Costs._calibrate,
    "pack": Costs._pack,
    "score": Costs._score,
    "linear": Costs._linear,
    "recover": Costs._recover,
    "measure": Costs._measure,
}
