"""The jobs of a study: which there are, what each does on a device, how long it takes and what memory it needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hfprune.assets.catalogue import Catalogue, LocalSource, alternatives
from hfprune.assets.text_sizes import pairs_to_learn
from hfprune.cost.offload import Offloaded
from hfprune.cost.speed import PROCESS, loading, seconds
from hfprune.criteria import Criterion
from hfprune.devices.table import Device
from hfprune.errors import HfpruneError
from hfprune.evaluation.work import Case, Work
from hfprune.measures import Measure
from hfprune.models.shape import Shape, known_shapes, shape_of
from hfprune.recovery.settings import measured_steps
from hfprune.results import DENSE, Cell
from hfprune.study import layout
from hfprune.study.references import study_assets
from hfprune.study.study import Study
from hfprune.study.sweeps import criteria_of, sweeps

# Seconds beyond a start of rules without a model's passes, roughly.
SMALL = {
    "dtype": 3.0,
    "fetch": 10.0,
    "budget": 1.0,
    "method": 0.0,
    "calibrate": 10.0,
    "plan": 2.0,
    "plan_step": 2.0,
    "pack": 1.0,
    "collect": 5.0,
    "tables": 2.0,
    "claims": 5.0,
    "compare": 5.0,
    "figures": 30.0,
    "report": 15.0,
    "page": 10.0,
}
# Tokens of instruction pairs that one core tokenizes a second: 19 minutes for LaMini-instruction's.
TOKENIZED = 3e5
# Bytes of a packed token, with its label and its position.
PACKED = 12
# Those that run once in a study.
ONCE = ("collect", "tables", "claims", "compare", "figures", "report", "page")
# The size that a model of unknown size is taken to have.
LARGEST = "qwen2.5-7b"
# Bytes of text that `calibrate` and measures of text hold: a file of C4 while it is read.
TEXT = 3e9


@dataclass(frozen=True)
class Job:
    """One job of a study."""

    rule: str
    about: str
    """The model, and the cell where there is one."""
    seconds: float
    """Time with its start."""
    main_memory: float
    """Bytes of main memory."""
    loading: float = 0
    """Seconds of that time in which models are loaded, by one thread."""
    gpu_memory: float = 0
    """Bytes of memory on the GPU; 0 if it takes none."""
    flops: float = 0
    threads: int = 1
    gpus: int = 1
    """GPUs that it takes for that time, if it takes any; `gpu_memory` is that of each, `flops` of all."""
    on_device: bool = False
    """Whether it runs on the device: every job on a CPU, only those with a model's passes on a GPU."""


class Costs:
    """What the jobs of a study cost on a device."""

    def __init__(
        self,
        name: str,
        study: Study,
        device: Device,
        catalogue: Catalogue,
        resources: Path = Path("resources"),
        *,
        guess: bool = False,
    ) -> None:
        """Prepare to count.

        Args:
            name: of the study.
            study: the study.
            device: where its jobs run.
            catalogue: says where models come from.
            resources: folder of the fetched assets.
            guess: count a model of unknown size as `LARGEST`, instead of an error.

        Raises:
            HfpruneError: the size of a model, a measure or a criterion is not known.
        """
        self.name, self.study, self.device = name, study, device
        self.guessed: list[str] = []
        """Models of unknown size."""
        self.shapes: dict[str, Shape] = {}
        for model in study.models:
            try:
                sources = alternatives(catalogue.models[model].source)
                folders = [source.path for source in sources if isinstance(source, LocalSource)]
                self.shapes[model] = shape_of(model, resources, folders)
            except HfpruneError:
                if not guess:
                    raise
                self.guessed.append(model)
                self.shapes[model] = known_shapes()[LARGEST]
        self.measures = study.make_measures()
        self.criteria = criteria_of(study)

    def jobs(self) -> Iterator[Job]:
        """Yield every job but those of baselines."""
        study = self.study
        yield from (self.small("fetch", asset) for asset in study_assets(study))
        if study.dtype == "auto":
            yield self.small("dtype", self.name)
        for model in study.models:
            yield self.small("budget", model)
            yield self.distributions(model)
            for corpus in dict.fromkeys(map(study.corpus_of, self.criteria)):
                yield from (self.small("calibrate", f"{model}, {corpus}") for _ in study.seeds)
            for number, sweep in enumerate(sweeps(study, self.criteria)):
                if model in sweep.models:
                    yield from (self.score(number, model) for _ in study.seeds)
            if "lora" in study.recoveries_of(model):
                yield from (self.pack(model) for _ in study.seeds)
        yield from (self.small("method", method) for method in self.criteria)
        for file in layout.plan_files(self.name, study):
            yield self.small("plan", file)
        for cell in layout.cells(self.name, study):
            if cell.recovery != "none":
                yield self.recover(cell)
        for names, measured in layout.together(self.name, study, self.measures).items():
            yield from (self.measure(names, cell) for cell in measured)
        # Once for a cell and its recovery.
        for cell in dict.fromkeys(replace(cell, recovery="none") for cell in layout.cells(self.name, study)):
            if cell.method in self.criteria:
                for _ in range(1, study.methods[cell.method].steps):
                    yield self.small("plan_step", _words(cell))
                    yield self.score_step(cell)
        for name, measure in self.measures.items():
            if measure.needs == "criterion":
                for model in study.models:
                    for method in filter(study.measures[name].covers, study.methods_of(model)):
                        if method in self.criteria:
                            cell = Cell(self.name, model, method, None, study.seeds[0], "none")
                            yield self.measure([name], cell)
        yield from (self.small(rule, self.name) for rule in ONCE)

    # --- jobs ---------------------------------------------------------------------------------------------

    def small(self, rule: str, about: str = "") -> Job:
        """Return a job of a rule that runs no model."""
        text = TEXT if rule in ("calibrate", "fetch", "pack") else 0
        start = 0.0 if rule == "method" else self.device.start / 2
        return Job(rule, about, SMALL[rule] + start, PROCESS + text, on_device=not self.device.on_gpu)

    def distributions(self, model: str) -> Job:
        """Return the job that takes next-token distributions of four blocks."""
        case, length = self.case(model), self.study.calibration.length
        work = case.read(4, length, length) + case.load()
        return self._job("distributions", model, case, work)

    def score(self, number: int, model: str) -> Job:
        """Return the job of one sweep, by its number in `sweeps`; with `until_agreement` it may be shorter."""
        return self._score(f"score_{number}", model, sweeps(self.study, self.criteria)[number].methods)

    def score_step(self, cell: Cell) -> Job:
        """Return the job that scores what one of the steps of a method has left, counted as the dense model."""
        return self._score("score_step", cell.model, [cell.method])

    def _score(self, rule: str, model: str, methods: list[str]) -> Job:
        criteria, calibration = {method: self.criteria[method] for method in methods}, self.study.calibration
        first, case = self.study.methods[methods[0]], self.case(model)
        sequences = first.sequences or calibration.sequences
        work = case.score(criteria, sequences, calibration.length, [*first.units]) + case.load()
        return self._job(rule, model, case, work, exclusive=True)

    def pack(self, model: str) -> Job:
        """Return the job that tokenizes and packs the instruction pairs for a model."""
        small, packed = self.small("pack", model), self.packed()
        return replace(
            small,
            seconds=small.seconds + packed / PACKED / TOKENIZED,
            main_memory=small.main_memory + packed,
        )

    def packed(self) -> float:
        """Return the bytes of the packed pairs of a model."""
        assert self.study.recovery is not None
        pairs, tokens = pairs_to_learn(self.study.recovery.instructions)
        return PACKED * min(self.study.recovery.examples or pairs, pairs) * tokens

    def recover(self, cell: Cell) -> Job:
        """Return the job that trains a cell's adapter."""
        settings, case = self.study.recovery, self.case(cell.model, cell)
        assert settings is not None
        steps = settings.max_steps
        pairs, tokens = pairs_to_learn(settings.instructions)
        if steps is None:
            sequences = min(settings.examples or pairs, pairs) * tokens / settings.length
            steps = max(1, round(settings.epochs * sequences / settings.batch))
        gpus = settings.gpus if self.device.on_gpu else 1
        held_out = min(settings.held_out, pairs / 10 * tokens / settings.length)
        measured = len(measured_steps(steps)) * held_out
        work = case.load() + case.train(
            settings.lora(), steps * settings.batch / gpus, settings.batch_tokens, measured / gpus
        )
        job = self._job("recover", _words(cell), case, work)
        return replace(job, gpus=gpus, flops=gpus * job.flops, main_memory=gpus * job.main_memory)

    def adopt(self, cell: Cell) -> Job:
        """Return the job that loads what a baseline has made."""
        case = self.case(cell.model)
        return self._job("adopt", _words(cell), case, case.load())

    def measure(self, names: Sequence[str], cell: Cell) -> Job:
        """Return the job that takes measures of one cell, or one measure of a method's scoring."""
        measures = [self.measures[name] for name in names]
        cases = [self.case(cell.model, cell, measure) for measure in measures]
        work = cases[0].load()
        for measure, case in zip(measures, cases, strict=True):
            work += measure.work(case)
        exclusive = any(measure.exclusive for measure in measures)
        return self._job(layout.measuring(names), _words(cell), cases[0], work, exclusive=exclusive)

    def measure_each(self, names: Sequence[str], cells: Sequence[Cell]) -> Job:
        """Return the job that takes measures of several cells, one after another."""
        jobs = [self.measure(names, cell) for cell in cells]
        return replace(
            jobs[0],
            seconds=sum(job.seconds for job in jobs),
            main_memory=max(job.main_memory for job in jobs),
            gpu_memory=max(job.gpu_memory for job in jobs),
            flops=sum(job.flops for job in jobs),
        )

    def case(self, model: str, cell: Cell | None = None, measure: Measure | None = None) -> Case:
        """Return a model as a job reads it: dense, or as a cell's plan cuts it."""
        dense, device, study = self.shapes[model], self.device, self.study
        dtype = (measure and measure.dtype) or study.dtype
        if dtype == "auto":
            dtype = max(("float32", "bfloat16"), key=lambda name: device.peak[name])
        plain = Case(dense, dtype, device.on_gpu, device.memory)
        if cell is None or (cell.method == DENSE and cell.recovery == "none"):
            return plain
        method = study.methods.get(cell.method)
        criterion: Criterion | None = self.criteria.get(cell.method)
        units = tuple(method.units) if method else ("neurons",)
        if cell.ratio is None:
            return replace(plain, criterion=criterion, length=study.calibration.length, units=units)
        resampled = measure is not None and measure.resampled and criterion and cell.recovery == "none"
        # Offloaded weights cannot be cut: there a plan is a mask, which takes the time of the dense model.
        whole = not cell.ratio or self.offloaded(plain).layers
        shape = dense if whole else dense.pruned(cell.ratio, method.units if method else None)
        resamples = study.calibration.resamples if resampled else 0
        return replace(plain, shape=shape, dense=dense, resamples=resamples)

    def offloaded(self, case: Case) -> Offloaded:
        """Return the layers of the dense model that the device does not hold; none without a device map."""
        dense, study = case.dense or case.shape, self.study
        if not study.device_map:
            return Offloaded(0, 0, 0)
        return Offloaded.of(dense, case.width, self.device, study.max_memory)

    def _job(self, rule: str, about: str, case: Case, work: Work, *, exclusive: bool = False) -> Job:
        device = self.device
        threads = device.cores if exclusive and device.cores else 1
        time = device.start + seconds(device, work, case.dtype, threads)
        time += self.offloaded(case).seconds(work.calls / (case.dense or case.shape).layers)
        # On a GPU a model passes through main memory while it loads; CUDA's libraries are as large as the others.
        passing = PROCESS + (case.dense or case.shape).weights(case.width)
        # With a device map, what the device does not hold lies elsewhere.
        memory = min(work.memory, device.memory) if self.study.device_map else work.memory
        return Job(
            rule,
            about,
            time,
            main_memory=PROCESS + (passing if device.on_gpu else memory),
            loading=loading(work),
            gpu_memory=memory if device.on_gpu else 0,
            flops=work.flops,
            threads=threads,
            on_device=True,
        )


def _words(cell: Cell) -> str:
    ratio = "scoring" if cell.ratio is None else f"{cell.ratio:g}"
    parts = (
        [cell.model, cell.method]
        + [ratio] * bool(cell.ratio != 0)
        + [cell.recovery] * (cell.recovery != "none")
    )
    return ", ".join(parts)
