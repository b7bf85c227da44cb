"""How long a call takes: foretold before the first long step, and corrected by the steps that were taken."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hfprune.cells import DENSE
from hfprune.cost.costs import CONTEXT, Costs
from hfprune.devices.known import UTILISATION, Device, nominal_cpu, visible_device
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.measurement import DECODED, TextMeasure
from hfprune.measures.latency import Latency
from hfprune.models.load import load_skeleton
from hfprune.models.shape import Shape, shape_of
from hfprune.pruning.faster_dtype import TOKENS, mlp_seconds, step_seconds
from hfprune.pruning.sample import CROPS, STEPS
from hfprune.stages import Stage
from hfprune.study.files import Files

# A prediction that weighs as much as so many seconds of steps that were taken.
TRUSTED = 60.0
# The seconds of each finished step, in the folder of the call.
SECONDS = "seconds.json"
# Steps before the first long one.
SHORT = ("pack", "budget", "calibrate")
# Seconds of a kind of step over those that an MLP alone would take at `UTILISATION`, on a processor: of SmolLM2,
# and of Qwen2.5-Coder-0.5B for reconstruction, which takes more in smaller models.
PACE = {"score": 0.65, "linear": 0.8, "measure": 0.7, "sample": 0.7}
# Seconds in which a thread makes a loss or an entropy of a logit; a distance takes three times as long.
LOGIT = 7e-9
# Seconds of a decoding step in each layer beside its products, and in each layer for each text.
LAYER, TEXT = 5e-4, 4e-5


class Speed:
    """How fast the device computes a model now, as the model's own MLP shows: others may share a processor."""

    def __init__(self, model: Path, shape: Shape) -> None:
        """Describe it; what is asked for is timed once.

        Args:
            model: folder of the dense model.
            shape: the dense model's.
        """
        self.model, self.shape, self.gpu = model, shape, visible_device()
        self._peaks: dict[str, float] = {}
        self._steps: dict[str, dict[int, float]] = {}

    def peak(self, dtype: str) -> float:
        """Return the operations a second of an MLP in a dtype, by all cores; of a GPU the table's peak."""
        if self.gpu:
            return self.gpu.peak(dtype)
        if dtype not in self._peaks:
            # Forward, and backward to activations.
            operations = 4 * TOKENS * self.shape.mlp_weights
            self._peaks[dtype] = operations / mlp_seconds(self.model, [dtype], median)[dtype]
        return self._peaks[dtype]

    def pace(self, kind: str) -> float:
        """Return how many times a kind of step takes what an MLP alone would at `UTILISATION`."""
        return 1.0 if self.gpu else PACE.get(kind, 1.0)

    def passes(self, kind: str, dtype: str, operations: float) -> float:
        """Return the seconds of passes of so many operations in a kind of step."""
        return self.pace(kind) * operations / (UTILISATION * self.peak(dtype))

    def logits(self, count: float) -> float:
        """Return the seconds in which so many logits become losses or entropies."""
        return 0.0 if self.gpu else LOGIT * count / torch.get_num_threads()

    def device(self, dtype: str) -> Device:
        """Return the device with this speed: in float32, and in the dtype of the study."""
        if self.gpu:
            return self.gpu
        cpu = nominal_cpu()
        # Reconstruction solves in float32, whatever the dtype.
        return replace(cpu, float32=self.peak("float32") / cpu.cores, bfloat16=self.peak(dtype) / cpu.cores)

    def decoding(self, dtype: str, steps: Mapping[int, float]) -> float:
        """Return the seconds of so many steps of decoding by the dense model, by the texts that go on.

        A step waits for the weights, so that its time is that of their bytes at the bandwidth of the moment. As
        many texts go on as in `STEPS`.
        """
        if self.gpu:
            return self.passes("decode", dtype, 2 * DECODED * self.shape.products * sum(steps.values()))
        if dtype not in self._steps:
            self._steps[dtype] = step_seconds(self.model, [*STEPS], [dtype], median)[dtype]
        weights = self.shape.products / (self.shape.layers * self.shape.mlp_weights)
        layers, taken = self.shape.layers, self._steps[dtype]
        each = {texts: weights * taken[texts] + layers * (LAYER + TEXT * texts) for texts in steps}
        return sum(count * each[texts] for texts, count in steps.items())


class Foretold:
    """What is left of a call, in predicted seconds of each step by its title."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.comparing: set[str] = set()
        self._steps: dict[str, tuple[float, float]] = {}
        """Seconds taken and predicted, by kind of step."""
        self._speed: Speed | None = None
        self._texts = set[str]()
        """Those that the dense model has read."""
        self._is_announced = False

    def add(self, files: Files, jobs: Mapping[str, Stage], known: Collection[str] = ()) -> None:
        """Add the steps of a study but the `known` ones, which others have done, and those of an earlier call."""
        (model,) = files.study.models
        folder, dtype = files.asset("models", model), files.study.dtype
        if not self._speed:
            self._speed = Speed(folder, _shape(model, folder))
        costs, record = Costs(files, jobs.values(), self._speed.device(dtype)), files.results / SECONDS
        costs.shapes[model] = self._speed.shape
        earlier = read_json(record) if record.exists() else {}
        # Where measures choose the step that is exported, the model comes after them; a sweep exports none.
        exported = [*jobs].index("export") if "export" in jobs else len(jobs)
        for place, (title, job) in enumerate(jobs.items()):
            there = title in earlier and all(file.exists() for file in job.outputs())
            if there or title in known or title in self.left:
                continue
            if job.stage == "measure":
                self.left[title] = self._measuring(files, job, self._speed)
            elif job.stage == "sample":  # a stage of `hfprune prune` alone
                self.left[title] = _sampling(job, self._speed)
            else:
                cost = costs.of(job)
                self.left[title] = (cost.seconds - costs.start) * cost.share * self._speed.pace(job.stage)
            if place > exported:
                self.comparing.add(title)

    def _measuring(self, files: Files, job: Any, speed: Speed) -> float:
        """Return the seconds of a job of measuring, whose models read a text once for all measures."""
        shape, dtype = speed.shape, job.dtype
        operations = seconds = 0.0
        for cell in job.named_cells():
            of_cell = (
                (shape.pruned(cell.ratio or 0), set[str]()) if cell.method != DENSE else (shape, self._texts)
            )
            for measure in map(files.measures.__getitem__, job.measures):
                sides, tokens = [of_cell], measure.tokens()
                if isinstance(measure, TextMeasure):
                    sides += [(shape, self._texts)] * (measure.needs == "beside")
                    text = measure.model_dump_json(include={"corpus", "sequences", "length", "sampling"})
                    # A loss or an entropy of one model, thrice as much for a distance of two.
                    seconds += speed.logits(tokens * shape.vocabulary * (2 * len(sides) - 1))
                    for side, texts in sides:
                        head = 2 * tokens * side.hidden * side.vocabulary
                        operations += head if text in texts else side.forward(tokens, CONTEXT)
                        texts.add(text)
                elif isinstance(measure, Latency):
                    steps = (1 + measure.repeats) * measure.new_tokens
                    operations += 2 * shape.forward(tokens - DECODED * steps, CONTEXT)
                    seconds += speed.decoding(dtype, {measure.batch: 2 * steps})
                else:
                    operations += of_cell[0].forward(tokens, CONTEXT)
        return seconds + speed.passes("measure", dtype, operations)

    def done(self, title: str, seconds: float | None) -> None:
        """Count a step as done, in so many seconds; None if it was there."""
        predicted = self.left.pop(title, 0.0)
        if seconds is not None:
            taken, of_kind = self._steps.get(_kind(title), (0.0, 0.0))
            self._steps[_kind(title)] = taken + seconds, of_kind + predicted

    def minutes(self, *, comparing: bool) -> float:
        """Return the minutes to the model, or those of the comparison, at the pace of the steps so far."""
        left = {title: x for title, x in self.left.items() if (title in self.comparing) == comparing}
        return sum(x * self._pace(_kind(title)) for title, x in left.items()) / 60

    def _pace(self, kind: str) -> float:
        """Return how many times the prediction a kind of step takes: as its own did, else as all did."""
        taken, predicted = (sum(each) for each in zip((0.0, 0.0), *self._steps.values(), strict=True))
        of_all = (TRUSTED + taken) / (TRUSTED + predicted)
        taken, predicted = self._steps.get(kind, (0.0, 0.0))
        return (TRUSTED * of_all + taken) / (TRUSTED + predicted)

    def is_due(self, title: str) -> bool:
        """Tell whether to announce before this step, the first long one: then the text is known to suffice."""
        return not self._is_announced and title in self.left and title not in SHORT

    def announced(self) -> str:
        """Return a line about all steps that are left, after which `to_go` speaks, too."""
        self._is_announced = True
        model, then = self.minutes(comparing=False), self.minutes(comparing=True)
        comparison = f", then about {then:.1f} to the end of the comparison" if then else ""
        return (
            f"about {model:.1f} minutes to the model{comparison}, if the machine stays as fast as it is now"
        )

    def to_go(self) -> str:
        """Return how long it takes from here, or "" for less than a minute."""
        minutes = self.minutes(comparing=False) + self.minutes(comparing=True)
        unit = "minute" if round(minutes) == 1 else "minutes"
        return f" (about {minutes:.0f} {unit} to go)" if self._is_announced and minutes >= 1 else ""


def reading_minutes(models: Sequence[tuple[Path, float]], dtype: str | None) -> float:
    """Return the minutes in which models, one after another, read tokens at the pace of measuring.

    Args:
        models: the folder of each, and its tokens; the machine is timed by an MLP of the first.
        dtype: the precision; by default that in which each was saved.

    Raises:
        HfpruneError: a model's size is not known, or it has no gated MLP.
    """
    first, _ = models[0]
    speed, seconds = Speed(first, _shape(first.name, first)), 0.0
    for folder, tokens in models:
        precision = dtype or str(load_skeleton(folder).dtype).removeprefix("torch.")
        operations = _shape(folder.name, folder).forward(tokens, CONTEXT)
        seconds += speed.passes("measure", precision, operations)
    return seconds / 60


def _shape(model: str, folder: Path) -> Shape:
    """Return the dense model's shape, whose config may have the names of fields of the model's own code."""
    try:
        return shape_of(model, [folder])
    except HfpruneError:
        return Shape.of_config(load_skeleton(folder).config.to_dict(), str(folder))


def _kind(title: str) -> str:
    """Return the stage of a step, which begins its title."""
    return title.split()[0]


def _sampling(job: Any, speed: Speed) -> float:
    """Return the seconds of the sample: what two models read, and their steps of decoding."""
    read = 2 * (1 + CROPS["sequences"]) * CROPS["length"]
    passes = speed.passes("sample", job.dtype, speed.shape.forward(read, CROPS["length"]))
    return passes + 2 * speed.decoding(job.dtype, STEPS)
