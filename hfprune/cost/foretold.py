"""How long a call takes: foretold before the first long step, and corrected by the steps that were taken."""

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
from hfprune.study.files import Files

# A prediction that weighs as much as so many seconds of steps that were taken.
TRUSTED = 60.0
# The seconds of each finished step, in the folder of the call.
SECONDS = "seconds.json"
# Steps before the first long one.
SHORT = ("pack", "budget", "calibrate")


class Foretold:
    """What is left of a call, in predicted seconds of each step by its title."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.comparing: set[str] = set()
        self.titles: list[str] = []
        """All steps of the call, in order."""
        self._ended = set[str]()
        self._steps: dict[str, tuple[float, float]] = {}
        """Seconds taken and predicted, by kind of step."""
        self._timed: TimedCpu | None = None
        self._texts = set[str]()
        """Those that the dense model has read."""
        self._is_announced = False

    def add(self, files: Files, jobs: Mapping[str, Stage], known: Collection[str] = ()) -> None:
        """Add the steps of a study but the `known` ones, which others have done.

        Those whose results an earlier call has left are steps, too, with no time left.
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
        # Where measures choose the step that is exported, the model comes after them; a sweep exports none.
        exported = [*jobs].index("export") if "export" in jobs else len(jobs)
        for place, (title, job) in enumerate(jobs.items()):
            if title in known or title in self.titles:
                continue
            self.titles.append(title)
            if title in earlier and all(file.exists() for file in job.outputs()):
                continue
            cost = costs.of(job)
            self.left[title] = (cost.seconds - costs.start) * cost.share
            if place > exported:
                self.comparing.add(title)

    def done(self, title: str, seconds: float | None) -> None:
        """Count a step as done, in so many seconds; None if it was there."""
        self._ended.add(title)
        predicted = self.left.pop(title, 0.0)
        if seconds is not None:
            taken, of_kind = self._steps.get(_kind(title), (0.0, 0.0))
            self._steps[_kind(title)] = taken + seconds, of_kind + predicted

    def minutes(self, *, comparing: bool) -> float:
        """Return the minutes to the model, or those of the comparison, at the pace of the steps so far."""
        left = {title: x for title, x in self.left.items() if (title in self.comparing) == comparing}
        return sum(x * self._pace(_kind(title)) for title, x in left.items()) / 60

    def _pace(self, kind: str) -> float:
        """Return the factor of a kind of step on its prediction: as its own steps took, else as all did."""
        taken = sum(seconds for seconds, _ in self._steps.values())
        predicted = sum(seconds for _, seconds in self._steps.values())
        of_all = (TRUSTED + taken) / (TRUSTED + predicted)
        taken, predicted = self._steps.get(kind, (0.0, 0.0))
        return (TRUSTED * of_all + taken) / (TRUSTED + predicted)

    def counted(self, title: str) -> str:
        """Return the number of a step among all steps of the call, as `[3/13]`; empty for a finished step."""
        if title in self._ended or title not in self.titles:
            return ""
        return f"[{self.titles.index(title) + 1}/{len(self.titles)}]"

    def is_due(self, title: str) -> bool:
        """Tell whether to announce before this step, the first long one: then the text is known to suffice."""
        return not self._is_announced and title in self.left and title not in SHORT

    def announced(self) -> str:
        """Return a line about all steps that are left, after which `to_go` speaks, too."""
        self._is_announced = True
        model, comparison = self.minutes(comparing=False), self.minutes(comparing=True)
        then = f", then {about(comparison)} to the end of the comparison" if comparison else ""
        return f"{about(model)} to the model{then}, if the machine stays as fast as it is now"

    def to_go(self) -> str:
        """Return how long it takes from here, or "" for less than a minute."""
        minutes = self.minutes(comparing=False) + self.minutes(comparing=True)
        return f" ({about(minutes)} to go)" if self._is_announced and minutes >= 1 else ""


def about(minutes: float) -> str:
    """Return minutes for readers, in whole ones."""
    if round(minutes) < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minute{'s' * (round(minutes) > 1)}"


def reading_minutes(models: Sequence[tuple[Path, float]], dtype: str | None) -> float:
    """Return the minutes in which models, one after another, read tokens at the pace of measuring.

    Args:
        models: the folder of each, and its tokens; a processor is timed by an MLP of the first.
        dtype: the precision; by default that in which each was saved.

    Raises:
        HfpruneError: a model's size is not known, or it has no gated MLP.
    """
    first, _ = models[0]
    gpu, timed, seconds = visible_device(), TimedCpu(first, _shape(first.name, first)), 0.0
    for folder, tokens in models:
        precision = dtype or str(load_skeleton(folder).dtype).removeprefix("torch.")
        work = Work(_shape(folder.name, folder).forward(tokens, CONTEXT), precision)
        seconds += nominal_seconds(gpu, work) if gpu else timed.seconds("measure", work)
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
