"""The contract of a measure: every file in `hfprune/measures/` is one. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from hfprune.assets.text import Text
from hfprune.assets.text_sizes import blocks, tokens_of
from hfprune.plugins.registry import Registry
from hfprune.settings import Name, Parted, Strict

if TYPE_CHECKING:
    import pandas as pd

    from hfprune.cells import Value

# A decoding step reads all weights, which takes as long as a pass over this many tokens: 20 to 45 on a CPU and 80
# to 120 on a GPU, by their memory's bandwidth and 40 % of their peak.
DECODED = 64
BatchTokens = Annotated[PositiveInt | None, Field(description="tokens of one forward pass; null: by device")]


@dataclass(frozen=True)
class Metric:
    """A number that a measure gives, and its presentation."""

    name: str
    """Value of the column `metric` in the tidy table."""
    label: str
    """Name in tables, axes and claims."""
    unit: str = ""
    explained: str = ""
    """One sentence for readers who do not know the metric."""
    words: tuple[str, str, str] = ("does best", "better", "worse")
    """Words for the best, a better and a worse model by this metric."""
    better: Literal["lower", "higher", ""] = ""
    """The better direction; empty if neither is better, and then no method is marked as best."""
    shown: str = "{:.3f}"
    """Format of a printed value, for `str.format`."""
    difference: str = ""
    """Format of a difference of two values; by default that of a value, with its sign."""
    items: tuple[str, ...] = ()
    """Columns of the per-item outcomes; the first that exists serves to compare cells. Empty: no items."""
    effect: Literal["difference", "ratio"] = "difference"
    """How two cells are compared: by the difference of the items' means or, if items are logarithms, by its
    exponential, which is a ratio. Without items, always by the ratio of the two values."""
    scale: float = 1
    """Factor of printed values: 100 for percent."""
    one_right: bool = False
    """Whether the metric needs tasks whose questions have exactly one right choice."""
    repeatable: bool = True
    """Whether another run gives the same number; times and memory depend on the process and the machine."""

    @property
    def effect_form(self) -> str:
        """Format of an effect: a ratio, or a difference with its sign."""
        return "{:,.2f}" if self.effect == "ratio" else self.difference or self.shown.replace("{:", "{:+", 1)


class Outcome(NamedTuple):
    """The result of one measurement."""

    values: list[Value]
    items: pd.DataFrame | None = None
    """One row per item: `item`, `document` where several items come from one document, and a column per metric."""


# Names that a setting cannot have: flags of `hfprune measure`, and keys that a study takes for itself.
RESERVED = {
    *("name", "resources", "cell", "out", "model", "plan", "checkpoint", "adapter", "linear", "resampled"),
    *("dtype", "device_map", "instead", "quantised"),
    *("measure", "methods", "without", "ratios", "settings"),
    *("criterion", "options", "blocks", "units", "seed"),
}


class Measure(Strict, ABC):
    """A measurement on a cell. The fields of a subclass are its settings.

    A subclass has its own file under `hfprune/measures/`, named after the measure, or comes from another
    package with an entry point in the group `hfprune.measures`. A higher `version` repeats the measurements
    with this measure, and no others. Settings are checked before heavy imports: import torch inside `run`.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[Literal["model", "beside", "reference", "dense", "criterion"]] = "model"
    """The models that `run` gets. `model`: every cell's model. `beside`: each pruned or recovered model, with
    the dense one for comparison. `reference`: every cell's model, with the dense one for comparison if it is
    pruned. `dense`: the dense model alone. `criterion`: the dense model and a method's criterion, before any
    plan."""
    recovered: ClassVar[bool] = True
    """Whether recovered models are measured too; False if an adapter cannot change the result."""
    exclusive: ClassVar[bool] = False
    """Whether nothing else may run on the machine meanwhile, as for a measure of time."""
    resampled: ClassVar[bool] = False
    """Whether plans of resampled calibrations are measured too, so that intervals cover the draw; for measures
    that are much faster than scoring."""
    capability: ClassVar[str] = "Other"
    """The heading of its numbers on the page; numbers of tasks have the headings of their tasks."""
    units: ClassVar[str] = "items"
    """What its items are called, in the plural, such as `documents`."""
    per_task: ClassVar[bool] = False
    """Whether the results are a folder with one file per task, so that a new task is measured alone."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if reserved := RESERVED & cls.model_fields.keys():
            raise TypeError(f"{cls.__name__}: a setting cannot be called {min(reserved)!r}; rename it")

    @abstractmethod
    def metrics(self) -> list[Metric]:
        """Return every metric that `run` may give; the first represents the measure in comparisons."""

    @abstractmethod
    def run(self, subject: Any) -> Outcome:
        """Measure a subject; a measure with several tasks runs once for each part that `by_task` returns.

        Args:
            subject: a `Subject` (`hfprune.evaluation.measured_model`): models, tokenizer and text.
        """

    def tokens(self) -> float:
        """Return the tokens that a model reads in all tasks; a measure of scoring returns its sequences.

        `hfprune cost` predicts time from this number. The default suits a small measure.
        """
        return 4096

    def by_task(self) -> dict[str, Self]:
        """Return one measure per task; each key is a value of the column `task` in the tidy table.

        Each runs separately and has its own result.
        """
        return {"": self}

    def assets(self) -> list[str]:
        """Return the assets of the catalogue that the measure reads, as `kind/name`."""
        return []

    def files(self) -> list[Path]:
        """Return the other files that the measure reads; a changed file repeats the measurement."""
        return []


class TextMeasure(Measure, Text):
    """A measure that reads blocks of a corpus."""

    units = "blocks of text"

    batch_tokens: BatchTokens = None

    def by_task(self) -> dict[str, Self]:
        """Return the measure, with the name of its corpus as the task."""
        return {Path(self.corpus).name: self}

    def assets(self) -> list[str]:
        """Return the corpus."""
        return [f"corpora/{self.corpus}"]

    def blocks_to_read(self) -> int:
        """Return the number of blocks, as far as is known before the corpus is fetched."""
        return blocks(self.corpus, self.sequences, self.length, self.sampling)

    def tokens(self) -> float:
        """Return the tokens of all blocks."""
        return self.blocks_to_read() * self.length


class TaskMeasure(Measure):
    """A measure of tasks of lm-eval, each of which has its own result."""

    per_task = True
    units = "questions"

    tasks: Annotated[list[str], Parted] = Field(
        min_length=1,
        description="tasks of lm-eval: names in config/assets.yaml or of lm-eval, or folders of fetched ones",
    )
    documents: PositiveInt | None = Field(
        default=None, description="documents of each task, a seeded sample; null: all"
    )
    add_bos: bool = Field(default=True, description="prepend BOS (lm-eval's add_bos_token)")
    batch_tokens: BatchTokens = None

    def by_name(self) -> dict[str, str]:
        """Return the tasks by their names."""
        return {Path(task).name: task for task in self.tasks}

    def by_task(self) -> dict[str, Self]:
        """Return the tasks one by one."""
        return {name: self.model_copy(update={"tasks": [task]}) for name, task in self.by_name().items()}

    def assets(self) -> list[str]:
        """Return the tasks' documents."""
        return [f"tasks/{task}" for task in self.tasks]

    def tokens(self) -> float:
        """Return the tokens of the documents of all tasks."""
        return tokens_of(self.tasks, self.documents)


MEASURES: Registry[Measure] = Registry("hfprune.measures", Measure)  # type: ignore[type-abstract]


def stems(name: str, measure: Measure) -> list[str]:
    """Return the files of a measure in a cell's folder, without suffix: one, or a folder with one per task."""
    return [f"{name}/{task}" for task in measure.by_task()] if measure.per_task else [name]


def waiting_folder(folder: Path, name: str) -> Path:
    """Return where finished results of a measure of a cell wait for the others of their job."""
    return folder / f".{name}.state"


class NamedMeasure(Strict):
    """A measure of a study: its name there, which measure it is, and its settings."""

    measure: Name | None = Field(default=None, description="defaults to the name in the study")
    settings: dict[str, Any] = Field(default={}, description="every other key: settings of the measure")

    @model_validator(mode="before")
    @classmethod
    def _other_keys_are_settings(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict) or "settings" in data:
            return data
        own = {key: data[key] for key in cls.model_fields if key in data}
        return own | {"settings": {key: value for key, value in data.items() if key not in own}}

    def make(self, name: str, where: str) -> Measure:
        """Return the measure, which has this name in the study.

        Raises:
            HfpruneError: the measure or a setting is unknown; names `where`, the key and the nearest valid one.
        """
        return MEASURES.make(self.measure or name, self.settings, where)
