"""The work of every job of a study: operations, steps of decoding, bytes and fixed times.

Each stage with work of its own has one function in `STAGES`, which reads the settings of the job.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hfprune.assets.text_sizes import pairs_to_learn
from hfprune.calibration.sizes import most_open
from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.cost.work import GRADIENT, Work
from hfprune.criteria import StudentCriterion
from hfprune.devices.batches import WRITTEN_AT_ONCE, training_tokens
from hfprune.devices.known import Device
from hfprune.evaluation.outputs import KEPT
from hfprune.measurement import DECODED, Measure, TextMeasure
from hfprune.measures.latency import Latency
from hfprune.models.shape import BYTES, Shape
from hfprune.scoring.fitting import ScoringCost
from hfprune.settings.recovery import Linear, measured_steps
from hfprune.stages import Stage
from hfprune.study.calibration import Calibrated, Calibration
from hfprune.study.files import Files

# Tokens that a token is paired with in the attention of measures.
CONTEXT = 256
# Bytes of a file of C4.
TEXT = 3e9
# Bytes of a packed token with label and position; tokens of instruction pairs that a core tokenizes per second.
PACKED, TOKENIZED = 12, 3e5
# Seconds to start a layer's operations for one token of all blocks.
STARTED = 1e-3


@dataclass
class Reader:
    """A model by which measures read texts, and the texts whose last hidden states are kept."""

    shape: Shape
    texts: set[str] = field(default_factory=set)

    def read(self, measure: TextMeasure, dtype: str, most: float = math.inf) -> float:
        """Return the operations for a measure's text: of the head alone, if an earlier measure has read the text.

        A text is kept for other measures if its states take at most `most` bytes.
        """
        tokens, shape = measure.tokens(), self.shape
        text = measure.model_dump_json(include={"corpus", "sequences", "length", "sampling"})
        if text in self.texts:
            return 2 * tokens * shape.hidden * shape.vocabulary
        if tokens * shape.hidden * BYTES[dtype] <= most:
            self.texts.add(text)
        return shape.forward(tokens, CONTEXT)


@dataclass
class Workload:
    """The work of a study's jobs on a kind of device."""

    files: Files
    shapes: Mapping[str, Shape]
    """Shapes of the dense models, by name."""
    device: Device
    peak: Callable[[str], float]
    """Operations per second in a dtype; only ratios matter."""
    kept: set[str] | None = None
    """Texts whose states the dense model keeps, if all jobs share a process; None: each job is a process."""

    def work_of(self, job: Stage) -> Work:
        """Return the work of a job; stages that are not in `STAGES` take seconds of a core."""
        return STAGES[job.stage](self, job) if job.stage in STAGES else Work()

    def _text(self, _job: Any) -> Work:
        return Work(seconds=10, memory=TEXT)

    def _calibrate(self, job: Any) -> Work:
        if not job.continued_after:
            return self._text(job)
        read, shape, dtype = job.blocks, self.shapes[job.model_name()], job.dtype
        at_a_time = max(1, min(read.sequences, WRITTEN_AT_ONCE // read.length))
        steps = math.ceil(read.sequences / at_a_time) * (read.length - job.continued_after)
        kept = at_a_time * read.length * shape.cached(dtype)
        # Logits in the dtype and, for drawing, three times in float64.
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
        by_draw = {(name, *draw): job.sample(*draw, read.sequences) for name, *draw in job.scorings()}
        students = {
            sample for (name, *_), sample in by_draw.items() if isinstance(criteria[name], StudentCriterion)
        }
        last = max(sample.stop for sample in by_draw.values())
        scoring = replace(
            self._scoring(job, job.methods, job.units),
            open=most_open(by_draw.values()),
            by_students=sum(map(len, students)) / last,
        )
        memory = scoring.peak(read.length * scoring.fitting(read.length, job.batch_tokens))
        flops = scoring.operations(last * read.length, read.length)
        logits = GRADIENT * scoring.logits(last * read.length)
        return Work(flops, scoring.dtype, memory, scoring.shape.weights(scoring.dtype), logits=logits)

    def _linear(self, job: Any) -> Work:
        read, shape = self._calibration(job), self.shapes[job.model_name()]
        tokens, weights = read.sequences * read.length, shape.weights(job.dtype)
        sums = 4 * (tokens * shape.hidden + 10 * shape.neurons**2 + 3 * (shape.neurons + shape.hidden) ** 2)
        kept = [self._cut(job.model_name(), cell).neurons for cell in job.named_cells()]
        # The pass is in the dtype, and all else in float32.
        faster = self.peak(job.dtype) / self.peak("float32")
        flops = solving(shape, job.linear, tokens, read.length, kept, faster)
        return Work(flops, "float32", weights + sums, weights)

    def _recover(self, job: Any) -> Work:
        settings, dtype, on_gpu = self.files.study.recovery, job.dtype, self.device.on_gpu
        assert settings is not None  # a study that trains has the section
        pairs, tokens = pairs_to_learn(self.files.asset("instructions", settings.instructions))
        sequences = pairs * tokens / settings.length
        steps = settings.max_steps or max(1, round(settings.epochs * sequences / settings.batch))
        measured = len(measured_steps(steps)) * min(settings.held_out, sequences / 10)
        at_once = job.batch_tokens or training_tokens(on_gpu=on_gpu)
        shape = self._cut(job.model_name(), *job.named_cells())
        # 4 N per token, since weights are frozen.
        read = (2 * steps * settings.batch + measured) * settings.length
        flops = shape.forward(read, settings.length)
        memory = training_memory(shape, at_once, dtype, on_gpu=on_gpu)
        logits = GRADIENT * read * shape.vocabulary
        if settings.loss == "kl":  # the dense model reads everything once
            dense = self.shapes[job.model_name()]
            flops += dense.forward(read - steps * settings.batch * settings.length, settings.length)
            memory += dense.weights(dtype)
        return Work(flops, dtype, memory, shape.weights(dtype), logits=logits)

    def _measure(self, job: Any) -> Work:
        dense, dtype = self.shapes[job.model_name()], job.dtype
        unchanged = Reader(dense, set() if self.kept is None else self.kept)
        flops = logits = memory = 0.0
        steps = defaultdict[int, float](float)
        for cell, files in zip(job.named_cells(), job.cells, strict=True):
            plain = (cell.method, cell.recovery) == (DENSE, Recovery.NONE)
            uncut = plain or cell.ratio is None
            own = unchanged if uncut else Reader(self._cut(cell.model, cell))
            masked = Reader(dense)
            for measure in (self.files.measures[name] for name in job.measures):
                beside = [unchanged] if measure.needs in ("beside", "reference") and not plain else []
                tokens, held = measure.tokens(), dense.reading(dtype, on_gpu=self.device.on_gpu)
                if measure.needs == "criterion":
                    read = self._calibration(job)
                    scoring = self._scoring(job, [cell.method], files.scored.units)
                    flops += scoring.operations(tokens * read.length, read.length)
                    logits += GRADIENT * scoring.logits(tokens * read.length)
                    held = scoring.peak(read.length * scoring.fitting(read.length))
                elif isinstance(measure, TextMeasure):
                    count = self._resamples(cell, measure) if files.resampled else 0
                    flops += own.read(measure, dtype, KEPT) + count * masked.read(measure, dtype, KEPT)
                    flops += sum(reader.read(measure, dtype) for reader in beside)
                    # A distance of two models takes three times what a loss of one does.
                    logits += (1 + count) * (1 + 2 * len(beside)) * tokens * dense.vocabulary
                else:
                    timed = measure if isinstance(measure, Latency) else None
                    decoded = (1 + timed.repeats) * timed.new_tokens if timed else 0
                    for reader in (own, *beside):
                        flops += reader.shape.forward(tokens - DECODED * decoded, CONTEXT)
                        if timed:
                            steps[timed.batch] += decoded * reader.shape.products / dense.products
                if beside and measure.needs == "reference":
                    held += own.shape.weights(dtype)
                memory = max(memory, held)
        loaded = len(job.cells) * dense.weights(dtype)
        return Work(flops, dtype, memory, loaded, logits=logits, steps=steps, products=dense.products)

    def _resamples(self, cell: Cell, measure: Measure) -> int:
        """Return the number of resampled plans that a measure is taken on, as masks on the dense model."""
        read_by = Calibrated(cell.calibration, cell.sequences)
        return self.files.study.resamples_of(read_by) if measure.resampled else 0

    def _sample(self, job: Any) -> Work:
        dense, (texts, length) = self.shapes[job.model_name()], job.prompts
        steps = {at_a_time: 2 * count for at_a_time, count in job.steps.items()}
        flops = dense.forward(2 * texts * length, length)
        memory = dense.reading(job.dtype, on_gpu=self.device.on_gpu)
        return Work(flops, job.dtype, memory, dense.weights(job.dtype), steps=steps, products=dense.products)

    def _calibration(self, job: Any) -> Calibration:
        """Return the calibration that a job reads, the same for all its cells."""
        return self.files.study.calibrations[job.named_cells()[0].calibration]

    def _cut(self, model: str, cell: Cell) -> Shape:
        """Return the shape of a cell's model, as if neurons alone were removed."""
        return self.shapes[model].pruned(cell.cut_at)

    def _scoring(self, job: Any, methods: Iterable[str], units: Iterable[str]) -> ScoringCost:
        chosen = {method: self.files.criteria[method] for method in methods}
        room = self.device.memory if self.device.on_gpu else math.inf
        return ScoringCost(self.shapes[job.model_name()], chosen, [*units], job.dtype, room)


def training_memory(shape: Shape, tokens: float, dtype: str, *, on_gpu: bool) -> float:
    """Return the bytes that training adapters takes with `tokens` tokens at a time."""
    # Logits in the dtype, and three times in float32; the adapters are a hundredth of the weights.
    kept = shape.layers * shape.trained(dtype, on_gpu=on_gpu) + (BYTES[dtype] + 12) * shape.vocabulary
    return shape.weights(dtype) + tokens * kept


def solving(
    shape: Shape, settings: Linear, tokens: float, length: int, kept: Iterable[float], faster: float = 1
) -> float:
    """Return the operations of a linear recovery for plans that keep `kept` neurons of a layer, without logits.

    Those of matrix products count half, since they reach twice the utilisation of passes
    (`hfprune.recovery.least_squares`). Those of the model's pass are divided by how much `faster` it is than all
    else, which is in float32.
    """
    large = tokens * shape.neurons**2 * 9 / 16  # a half of the Gram matrix, in eight stripes
    tried = min(4, len(settings.ridges))
    for n in kept:
        # A Cholesky factor per tried λ, with products for 128 combinations of outputs, and one for all outputs.
        large += (tried + 1) * n**3 / 3 + 256 * tried * n**2
        large += shape.hidden * (n**2 + (shape.neurons - n) * shape.neurons)
    head = 2 * tokens * shape.hidden * shape.vocabulary
    return (shape.forward(tokens, length) - head) / faster + shape.layers * large


STAGES: dict[str, Callable[[Workload, Any], Work]] = {
    "fetch": Workload._text,
    "calibrate": Workload._calibrate,
    "pack": Workload._pack,
    "score": Workload._score,
    "linear": Workload._linear,
    "recover": Workload._recover,
    "measure": Workload._measure,
    "sample": Workload._sample,
}
