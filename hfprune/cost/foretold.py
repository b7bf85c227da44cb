"""The duration of a call: predicted before the first long step, and corrected by the finished steps."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hfprune.cost.costs import Costs, nominal_seconds
from hfprune.cost.timed import TimedCpu
from hfprune.cost.work import Work
from hfprune.cost.workload import CONTEXT
from hfprune.devices.known import nominal_cpu, visible_device
from hfprune.errors import HfpruneError
from hfprune.files import read_json
from hfprune.models.load import load_skeleton
from hfprune.models.shape import Shape, shape_of
from hfprune.stages import Stage
from hfprune.stages.measure import MeasureCells
from hfprune.study.files import Files

# The weight of a prediction, in seconds of finished steps.
TRUSTED = 60.0
# The seconds of each finished step, in the folder of the call.
SECONDS = "seconds.json"
# Steps before the first long one.
SHORT = ("pack", "budget", "calibrate")


class Foretold:
    """The rest of a call: title of a step → predicted seconds."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.comparing: set[str] = set()
        self.titles: list[str] = []
        """All steps of the call, in order."""
        self._ended = set[str]()
        self._steps: dict[str, tuple[float, float]] = {}
        """Kind of step → seconds taken and predicted."""
        self._timed: TimedCpu | None = None
        self._texts = set[str]()
        """Texts that the dense model has read."""
        self._made = set[Path]()
        """Files that the steps make."""
        self._is_announced = False

    def add(self, files: Files, jobs: Mapping[str, Stage], done: Collection[str] = ()) -> None:
        """Add the steps of a study but those in `done`, which others have done.

        Steps with results of an earlier call count, too, with no time left, and measurements that an earlier
        call or step has made take none.
        """
        (model,) = files.study.models
        folder, gpu = files.asset("models", model), visible_device()
        shape = _shape(model, folder)
        if not gpu and not self._timed:
            self._timed = TimedCpu(folder, shape)
        costs = Costs(files, jobs.values(), gpu or nominal_cpu(), self._timed, self._texts)
        # A job with cells names the model as the study does, any other job as its folder.
        costs.shapes |= {model: shape, folder.name: shape}
        record = files.results / SECONDS
        earlier = read_json(record) if record.exists() else {}
        # If measures choose the exported step, the model comes after them; a sweep exports none.
        exported = [*jobs].index("export") if "export" in jobs else len(jobs)
        for place, (title, job) in enumerate(jobs.items()):
            if title in done or title in self.titles:
                continue
            self.titles.append(title)
            if title in earlier and all(file.exists() for file in job.outputs()):
                continue
            parts = [job] if not isinstance(job, MeasureCells) else job.unfinished(self._made)
            self._made.update(job.outputs())
            if parts:
                by_part = map(costs.cost_of, parts)
                self.left[title] = sum((cost.seconds - costs.start) * cost.share for cost in by_part)
            if place > exported:
                self.comparing.add(title)

    def done(self, title: str, seconds: float | None) -> None:
        """Count a step as done after `seconds`; None if its results were there."""
        self._ended.add(title)
        predicted = self.left.pop(title, 0.0)
        if seconds is not None:
            earlier, earlier_predicted = self._steps.get(_kind(title), (0.0, 0.0))
            self._steps[_kind(title)] = earlier + seconds, earlier_predicted + predicted

    def minutes(self, *, comparing: bool) -> float:
        """Return the minutes to the model, or of the comparison, at the pace of the steps so far."""
        steps = self.left.items()
        left = [(title, x) for title, x in steps if (title in self.comparing) == comparing]
        return sum(seconds * self._pace(_kind(title)) for title, seconds in left) / 60

    def _pace(self, kind: str) -> float:
        """Return the ratio of actual to predicted time for a kind of step: of its own steps, or else of all."""
        actual = sum(seconds for seconds, _ in self._steps.values())
        predicted = sum(seconds for _, seconds in self._steps.values())
        overall = (TRUSTED + actual) / (TRUSTED + predicted)
        actual, predicted = self._steps.get(kind, (0.0, 0.0))
        return (TRUSTED * overall + actual) / (TRUSTED + predicted)

    def counted(self, title: str) -> str:
        """Return the number of a step in the call, such as `[3/13]`; "" for a finished step."""
        if title in self._ended or title not in self.titles:
            return ""
        return f"[{self.titles.index(title) + 1}/{len(self.titles)}]"

    def is_due(self, title: str) -> bool:
        """Tell whether this is the first long step, when the text is known to suffice, and an announcement due."""
        return not self._is_announced and title in self.left and title not in SHORT

    def announced(self) -> str:
        """Return a line about the remaining steps; from then on, `to_go` returns text, too."""
        self._is_announced = True
        model, comparison = self.minutes(comparing=False), self.minutes(comparing=True)
        then = f", then {about(comparison)} to the end of the comparison" if comparison else ""
        return f"{about(model)} to the model{then}, if the machine stays as fast as it is now"

    def to_go(self) -> str:
        """Return the remaining time for readers, or "" for less than a minute."""
        minutes = self.minutes(comparing=False) + self.minutes(comparing=True)
        return f" ({about(minutes)} to go)" if self._is_announced and minutes >= 1 else ""


def about(minutes: float) -> str:
    """Return a duration for readers, in whole minutes."""
    if round(minutes) < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minute{'s' * (round(minutes) > 1)}"


def reading_minutes(models: Sequence[tuple[Path, float]], dtype: str | None) -> float:
    """Return the minutes in which models, one after another, read tokens at the speed of measuring.

    Args:
        models: folder and number of tokens of each model; on a CPU, an MLP of the first is timed.
        dtype: precision; by default that in which each model was saved.

    Raises:
        HfpruneError: a model's size is unknown, or it has no gated MLP.
    """
    first, _ = models[0]
    gpu, timed, seconds = visible_device(), TimedCpu(first, _shape(first.name, first)), 0.0
    for folder, tokens in models:
        precision = dtype or str(load_skeleton(folder).dtype).removeprefix("torch.")
        work = Work(_shape(folder.name, folder).forward(tokens, CONTEXT), precision)
        seconds += nominal_seconds(gpu, work) if gpu else timed.seconds("measure", work)
    return seconds / 60


def _shape(model: str, folder: Path) -> Shape:
    """Return the dense model's shape; a config with other names of fields is read by the model's own code."""
    try:
        return shape_of(model, [folder])
    except HfpruneError:
        return Shape.of_config(load_skeleton(folder).config.to_dict(), str(folder))


def _kind(title: str) -> str:
    """Return the stage of a step, the first word of its title."""
    return title.split()[0]
