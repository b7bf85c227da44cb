"""What every job of a study does on a device: its time, memory and operations."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hfprune.assets.catalogue import LocalSource, alternatives
from hfprune.assets.text_sizes import pairs_to_learn
from hfprune.cost.speed import PROCESS, loading, seconds
from hfprune.criteria.random import Random
from hfprune.devices.table import Device
from hfprune.errors import HfpruneError
from hfprune.evaluation.work import Case, Work, solved
from hfprune.jobs import list_jobs
from hfprune.measures import Measure
from hfprune.models.shape import Shape, known_shapes, shape_of
from hfprune.recovery.options import measured_steps
from hfprune.results import DENSE, Cell
from hfprune.stages import Stage
from hfprune.study.places import Files

# The rules that publish, each of which runs once.
PUBLICATION = ("collect", "tables", "claims", "compare", "figures", "report", "page")
# Seconds, beyond a start, of a job that runs no model, roughly, and of one that tokenizes text.
SMALL, READING = 2.0, 10.0
# Bytes of text that a job holds: a file of C4 while it is read.
TEXT = 3e9
# Tokens of instruction pairs that one core tokenizes a second: 19 minutes for LaMini-instruction's.
TOKENIZED = 3e5
# Bytes of a packed token, with its label and its position.
PACKED = 12
# The size that a model of unknown size is taken to have.
LARGEST = "qwen2.5-7b"


@dataclass(frozen=True)
class Cost:
    """The cost of one job."""

    stage: str
    about: str
    """The model, and the cell where there is one."""
    seconds: float
    """Time with its start."""
    main_memory: float
    """Bytes of main memory."""
    memory: float
    """Bytes of the device's memory, which on a CPU are those of main memory."""
    share: float
    """Devices that it occupies: GPUs, or its cores' part of the CPU; 0 for a job beside the GPU."""
    loading: float = 0
    """Seconds of that time in which models are loaded, by one thread."""
    gpu_memory: float = 0
    """Bytes of memory on its GPU; 0 if it takes none."""
    flops: float = 0
    """Operations."""
    threads: int = 1

    @property
    def taken(self) -> float:
        """Seconds for which it occupies the device, by its share of it."""
        return self.seconds * self.share


class Costs:
    """What the jobs of a study cost on a device."""

    def __init__(
        self, files: Files, device: Device, resources: Path = Path("resources"), *, guess: bool = False
    ) -> None:
        """Prepare to count.

        Args:
            files: the study.
            device: where its jobs run.
            resources: folder of the fetched assets.
            guess: count a model of unknown size as `LARGEST`, instead of an error.

        Raises:
            HfpruneError: the size of a model is not known.
        """
        self.files, self.study, self.device, self.resources = files, files.study, device, resources
        self.guessed: list[str] = []
        """Models of unknown size."""
        self.shapes: dict[str, Shape] = {}
        for model in self.study.models:
            try:
                sources = alternatives(files.catalogue.models[model].source)
                folders = [source.path for source in sources if isinstance(source, LocalSource)]
                self.shapes[model] = shape_of(model, resources, folders)
            except HfpruneError:
                if not guess:
                    raise
                self.guessed.append(model)
                self.shapes[model] = known_shapes()[LARGEST]

    @cached_property
    def jobs(self) -> list[Stage]:
        """The study's jobs, but those of baselines and of the publication."""
        return [*list_jobs(self.files)]

    @cached_property
    def each(self) -> list[Cost]:
        """The cost of every job but those of baselines, in the order of the flow."""
        methods = [self._small("method", method) for method in self.files.criteria]
        published = [self._small(stage, self.files.name) for stage in PUBLICATION]
        return [*map(self.of, self.jobs), *methods, *published]

    def of(self, job: Stage) -> Cost:
        """Return the cost of a job of the study's list."""
        if job.takes == "core" or not job.model_name():
            return self._small(job.stage, job.about())
        case, work = self._case(job.model_name(), job.named_cells()[0]), Work()
        match job.stage:
            case "score":
                work = self._scoring(job)
            case "linear":
                read = self.study.calibration
                plain, plans = self._case(job.model_name()), len(job.named_cells())
                settings: Any = job
                work = solved(plain, settings.linear, read.sequences, read.length, plans)
            case "recover":
                work = self._training(case)
            case "measure":
                return self._cost(job, *self._measuring(job))
        return self._cost(job, case, case.load() + work)

    def hours(self, devices: int = 1) -> float:
        """Return the hours of the study on so many devices: at least those of its longest job."""
        taken = sum(cost.taken for cost in self.each) / devices
        return max(taken, self.longest.seconds) / 3600

    @property
    def longest(self) -> Cost:
        """The longest job."""
        return max(self.each, key=lambda cost: cost.seconds)

    @property
    def largest(self) -> Cost:
        """The job that needs most memory on the device."""
        return max(self.each, key=lambda cost: cost.memory)

    @cached_property
    def packed(self) -> float:
        """The bytes of the packed instruction pairs of a model."""
        assert self.study.recovery is not None
        pairs, tokens = pairs_to_learn(self.study.recovery.instructions)
        return PACKED * min(self.study.recovery.examples or pairs, pairs) * tokens

    # --- work by stage ------------------------------------------------------------------------------------

    def _scoring(self, job: Stage) -> Work:
        """Return the work of one sweep."""
        config: Any = job
        criteria = {method: self.files.criteria[method] for method in config.methods}
        sequences = config.sequences or self.study.calibration.sequences
        # What a step of a method has left counts as the dense model.
        return self._case(job.model_name()).score(
            criteria, sequences, self.study.calibration.length, [*config.units]
        )

    def _training(self, case: Case) -> Work:
        """Return the work of a recovery, in which the held-out pairs are measured on the way."""
        settings = self.study.recovery
        assert settings is not None
        pairs, tokens = pairs_to_learn(settings.instructions)
        steps = settings.max_steps
        if steps is None:
            sequences = min(settings.examples or pairs, pairs) * tokens / settings.length
            steps = max(1, round(settings.epochs * sequences / settings.batch))
        held_out = min(settings.held_out, pairs / 10 * tokens / settings.length)
        measured = len(measured_steps(steps)) * held_out
        return case.train(settings, steps * settings.batch, settings.batch_tokens, measured)

    def _measuring(self, job: Stage) -> tuple[Case, Work]:
        """Return the first case and the work of all cells and measures."""
        config: Any = job
        cases, total = [], Work()
        for cell in job.named_cells():
            total += self._case(job.model_name(), cell).load()
            for measure in map(self.files.measures.__getitem__, config.measures):
                cases.append(self._case(job.model_name(), cell, measure))
                total += measure.work(cases[-1])
        return cases[0], total

    def _case(self, model: str, cell: Cell | None = None, measure: Measure | None = None) -> Case:
        """Return a model as a job reads it: dense, or as a cell's plan cuts it."""
        dense, device, study = self.shapes[model], self.device, self.study
        dtype = (measure and measure.dtype) or study.dtype
        if dtype == "auto":
            dtype = max(("float32", "bfloat16"), key=lambda name: device.rates[name])
        plain = Case(dense, dtype, device.on_gpu, device.memory)
        if cell is None or (cell.method == DENSE and cell.recovery == "none"):
            return plain
        method, criterion = study.methods.get(cell.method), self.files.criteria.get(cell.method)
        units = tuple(method.units) if method else ("neurons",)
        if cell.ratio is None:
            return replace(plain, criterion=criterion, length=study.calibration.length, units=units)
        resampled = measure is not None and measure.resampled and criterion and cell.recovery == "none"
        resampled = resampled and not (method and method.bias)
        shape = dense.pruned(cell.ratio, method.units if method else None) if cell.ratio else dense
        resamples = study.calibration.resamples if resampled else 0
        if criterion and criterion.needs == "weights" and not isinstance(criterion, Random):
            resamples = min(1, resamples)  # the same plan again and again is measured once
        return replace(plain, shape=shape, dense=dense, resamples=resamples)

    # --- costs --------------------------------------------------------------------------------------------

    def _small(self, stage: str, about: str) -> Cost:
        """Return the cost of a job that runs no model; that of `method` starts no process."""
        packed = self.packed if stage == "pack" else 0.0
        time = self.device.start / 2 + (READING if stage in ("calibrate", "pack") else SMALL)
        time += packed / PACKED / TOKENIZED
        text = stage in ("fetch", "calibrate", "pack")
        memory, on_gpu = PROCESS + text * TEXT + packed, self.device.on_gpu
        return Cost(
            stage,
            about,
            seconds=0.0 if stage == "method" else time,
            main_memory=memory,
            memory=0.0 if on_gpu else memory,
            share=0.0 if on_gpu else 1 / self.device.cores,
        )

    def _cost(self, job: Stage, case: Case, work: Work) -> Cost:
        device = self.device
        threads = max(1, device.cores) if job.takes == "machine" else 1
        # With a device map, what the device does not hold lies on others.
        held = min(work.memory, device.memory) if self.study.device_map else work.memory
        # On a GPU a model passes through main memory while it loads; CUDA's libraries are as large as the others.
        passing = PROCESS + (case.dense or case.shape).weights(case.width)
        main = PROCESS + (passing if device.on_gpu else held)
        return Cost(
            job.stage,
            job.about(),
            seconds=device.start + seconds(device, work, case.dtype, threads),
            main_memory=main,
            memory=held if device.on_gpu else main,
            share=1 if device.on_gpu else threads / device.cores,
            loading=loading(work),
            gpu_memory=held if device.on_gpu else 0,
            flops=work.flops + work.single,
            threads=threads,
        )
