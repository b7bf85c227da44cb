"""A study: models × methods × ratios × seeds × recoveries, and the measures."""

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator, model_validator

from hfprune.calibration.folds import FOLDS
from hfprune.calibration.sizes import resamples_of, sized
from hfprune.criteria import CRITERIA
from hfprune.errors import distinct, nearest
from hfprune.measurement import Measure, NamedMeasure
from hfprune.results import DENSE
from hfprune.settings import Dtype, Listed, Name, Placement
from hfprune.settings.recovery import Linear
from hfprune.study.added_effects import RECOVERY, check_needs
from hfprune.study.calibration import Calibration
from hfprune.study.entries import (
    ChosenCells,
    Distinct,
    Ratios,
    Recoveries,
    Recovery,
    RecoveryKind,
    StudyModel,
)
from hfprune.study.method import ByCriterion, Method

Made = TypeVar("Made", bound=ByCriterion)


def by_size(methods: Mapping[str, Made], sizes: Collection[int]) -> dict[str, Made]:
    """Return the methods, with one for each size in place of each that reads the calibration whole.

    Raises:
        ValueError: two methods would have one name.
    """
    found: dict[str, Made] = {}
    for name, method in methods.items():
        whole = sizes and not method.sequences and _reads_blocks(name, method)
        made = {sized(name, size): method.of_size(name, size) for size in sizes} if whole else {name: method}
        for each in made.keys() & (methods.keys() - {name}):
            raise ValueError(f"{each!r} is {name!r} of that size already; choose another name")
        found |= made
    return found


def _reads_blocks(name: str, method: ByCriterion) -> bool:
    """Tell whether a method reads a calibration; one with an unknown criterion is refused elsewhere."""
    criterion = method.criterion or name
    known = not (isinstance(method, Method) and method.baseline) and criterion in CRITERIA.sources()
    return known and CRITERIA.load(criterion).needs != "weights"


class StudyMeasure(NamedMeasure, ChosenCells):
    """A measure with its settings, and the cells that it is taken of."""


class Study(Placement):
    """One YAML file: models × methods × ratios × seeds × recoveries, and the measures."""

    description: str = ""
    calibration: Calibration
    models: dict[Name, StudyModel] = Field(min_length=1, description="also a plain list of names")
    methods: dict[Name, Method] = Field(min_length=1)
    ratios: Ratios = Field(min_length=1, description="fractions of all parameters removed")
    seeds: Annotated[list[NonNegativeInt], Listed, Distinct] = Field(default=[0], min_length=1)
    recoveries: Recoveries = Field(default=["none"], min_length=1)
    recovery: Recovery | None = Field(
        default=None, description="how lora recovers; needed if `recoveries` lists lora"
    )
    linear: Linear = Field(default=Linear(), description="how linear recovers")
    dtype: Dtype = Field(default="bfloat16", description="precision of all its models")
    measures: dict[Name, StudyMeasure] = Field(
        description="settings by measure; `measure: NAME` under another name takes the same measure again"
    )
    primary: Name | None = Field(
        default=None,
        description="the measure whose first metric is the primary outcome, chosen before results are seen; every "
        "other outcome is secondary",
    )
    corrected_together: list[Annotated[list[Name], Field(min_length=2)]] = Field(
        default=[],
        description="lists of measures whose first metrics are one family for Holm's correction, as a sentence "
        "needs that speaks of several outcomes; each other outcome is a family of its own",
    )

    effects: Annotated[list[Name], Listed, Distinct] = Field(
        default=[],
        description="effects beside those of every study. losses: the log perplexity that a plan adds, per that "
        "of entropy; correlations: of each outcome with accuracy, over the plans; pairs: every two methods; "
        "training: held-out losses of pruned models less the dense one's, by the steps of the training; "
        "by_document: slopes of effects over the dense model's entropy on each document",
    )
    constant: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="share of a task's questions beyond which one answer is constant",
    )

    @field_validator("models", "methods", mode="before")
    @classmethod
    def _bare_name_means_defaults(cls, named: Any, info: ValidationInfo) -> Any:
        if isinstance(named, list) and all(isinstance(name, str) for name in named):
            named = dict.fromkeys(distinct(named))
        if not isinstance(named, dict):
            return named
        spelt = [name for name in named if "/" in str(name)]
        if spelt and info.field_name == "models":
            raise ValueError(f"{spelt[0]!r} is no name; give it one, as `models: {{mine: {spelt[0]}}}`")
        if info.field_name == "models":
            named = {name: {"source": one} if isinstance(one, str) else one for name, one in named.items()}
        return {name: {} if value is None else value for name, value in named.items()}

    @field_validator("methods")
    @classmethod
    def _one_for_each_size(cls, methods: dict[str, Method], info: ValidationInfo) -> dict[str, Method]:
        return by_size(methods, info.data["calibration"].sizes if "calibration" in info.data else [])

    @model_validator(mode="after")
    def _reserved_names(self) -> "Study":
        if DENSE in self.methods:
            raise ValueError(f"{DENSE!r} is the unpruned model and cannot name a method")
        for name, entry in self.measures.items():
            # The tidy table has the numbers of scoring, planning and recovery under these names.
            if name in ("size", "recovery") or (name == "cost" and (entry.measure or name) != "cost"):
                raise ValueError(f"measures: the suite itself uses the name {name!r}; choose another")
        return self

    @model_validator(mode="after")
    def _chosen_methods_and_ratios_exist(self) -> "Study":
        choosers: dict[str, Any] = {"recovery": self.recovery} if self.recovery else {}
        choosers |= {f"measures.{name}": entry for name, entry in self.measures.items()}
        models = {f"models.{name}": model for name, model in self.models.items()}
        for section, chooser in (choosers | models).items():
            for key in ("methods", "without"):
                for method in getattr(chooser, key) or []:
                    if method not in self.methods:
                        near = nearest(method, [*self.methods])
                        said = f"{section}.{key}: unknown {method!r}{near}"
                        raise ValueError(self._misspelt() or said)
        known = sorted({ratio for model in self.models for ratio in self.ratios_of(model)})
        methods = {f"methods.{name}": method for name, method in self.methods.items()}
        for section, chooser in (choosers | methods).items():
            for ratio in chooser.ratios or []:
                if ratio not in known:
                    raise ValueError(f"{section}.ratios: {ratio:g} is not among the study's ratios {known}")
        return self

    def _misspelt(self) -> str:
        """Return a sentence on a method whose criterion is unknown, or "" for none."""
        known = [*CRITERIA.sources()]
        for name, method in self.methods.items():
            criterion = method.criterion or name
            if not method.baseline and criterion not in known:
                return f"methods.{name}: unknown criterion {criterion!r}{nearest(criterion, known)}"
        return ""

    @model_validator(mode="after")
    def _labels_differ(self) -> "Study":
        named: dict[str, str] = {}
        for name, method in self.methods.items():
            if method.label and (other := named.setdefault(method.label, name)) != name:
                raise ValueError(f"methods.{name}.label: {method.label!r} is the label of {other!r} too")
        return self

    @model_validator(mode="after")
    def _named_outcomes_are_measured(self) -> "Study":
        if self.primary is not None and self.primary not in self.measures:
            raise ValueError(f"primary: unknown {self.primary!r}{nearest(self.primary, [*self.measures])}")
        measured = {entry.measure or name for name, entry in self.measures.items()}
        if self.recovery and self.recovery.held_out and any(map(self.trains, self.models)):
            measured.add(RECOVERY)
        check_needs(self.effects, measured)
        named = [name for family in self.corrected_together for name in family]
        for name in named:
            if name not in self.measures:
                raise ValueError(f"corrected_together: unknown {name!r}{nearest(name, [*self.measures])}")
            if named.count(name) > 1:
                raise ValueError(f"corrected_together: {name!r} stands twice; an outcome has one family")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Study":
        own = {f"models.{name}": model.sizes or {} for name, model in self.models.items()}
        for where, sizes in ({"calibration": self.calibration.sizes} | own).items():
            for size, most in sizes.items():
                if size not in self.calibration.sizes:
                    raise ValueError(f"{where}.sizes: {size} is not among the calibration's sizes")
                if size * (most or 1) > self.calibration.sequences:
                    raise ValueError(
                        f"{where}.sizes: {most or 1} of {size} sequences are more than the "
                        f"{self.calibration.sequences} of the calibration; lower the one, or raise the other"
                    )
        return self

    @model_validator(mode="after")
    def _sequences_suffice(self) -> "Study":
        for name, method in self.methods.items():
            if (method.sequences or 0) > self.calibration.sequences:
                raise ValueError(
                    f"methods.{name}.sequences: {method.sequences} is more than the {self.calibration.sequences} "
                    "of calibration.sequences; lower the one, or raise the other"
                )
        if self.calibration.resamples and self.calibration.sequences < FOLDS:
            raise ValueError(
                f"calibration.resamples needs at least {FOLDS} sequences, one a fold, not "
                f"{self.calibration.sequences}"
            )
        return self

    @model_validator(mode="after")
    def _recovery_fits(self) -> "Study":
        if self.recovery is None and any(map(self.trains, self.models)):
            raise ValueError("recoveries lists lora: add a recovery section, at least `instructions: NAME`")
        if self.device_map and any(map(self.trains, self.models)):
            raise ValueError(
                "device_map: lora trains on one device; remove it from recoveries, or device_map"
            )
        return self

    @model_validator(mode="after")
    def _draws_differ(self) -> "Study":
        most = max((count for model in self.models for count in self.sizes_of(model).values()), default=1)
        ordered = sorted(self.seeds)
        for one, other in pairwise(ordered):
            if other - one < most:
                raise ValueError(
                    f"seeds: {one} and {other} are too close: a size has {most} samples, and number k of "
                    "them is draw seed + k"
                )
        for name, method in self.methods.items():
            if method.sequences in self.calibration.sizes and method.steps > 1:
                raise ValueError(
                    f"methods.{name}: a method in steps has no sizes; remove `steps`, or give `sequences`"
                )
        if self.calibration.sizes and any(map(self.trains, self.models)):
            raise ValueError("recoveries: lora is not trained for sizes; remove one of the two")
        return self

    def sizes_of(self, model: str) -> dict[int, int]:
        """Return the sizes for a model, with the number of their samples."""
        sizes = self.models[model].sizes or self.calibration.sizes
        return {size: most or self.calibration.sequences // size for size, most in sizes.items()}

    def samples_of(self, model: str, method: str) -> int:
        """Return how many draws of a method there are under a seed: one, unless it reads samples of a size."""
        return self.sizes_of(model).get(self.methods[method].sequences or 0, 1)

    def draws_of(self, model: str, method: str) -> list[int]:
        """Return the numbers of a method's draws: each seed, and after it those of more samples of its size."""
        return [seed + number for seed in self.seeds for number in range(self.samples_of(model, method))]

    def seed_of(self, draw: int) -> int:
        """Return the seed of the calibration that a draw is a sample of."""
        return max(seed for seed in self.seeds if seed <= draw)

    def sequences_of(self, method: str) -> int:
        """Return how many sequences of its calibration a method reads, each of `calibration.length` tokens."""
        return self.methods[method].sequences or self.calibration.sequences

    def resamples_of(self, model: str, method: str) -> int:
        """Return how often a draw of a method is resampled: not at all where its size has enough of them."""
        return resamples_of(self.samples_of(model, method), self.calibration.resamples)

    def ratios_of(self, model: str) -> list[float]:
        """Return the ratios of a model: its own, else the study's."""
        return self.models[model].ratios or self.ratios

    def recoveries_of(self, model: str) -> list[RecoveryKind]:
        """Return the recoveries of a model: its own, else the study's."""
        return self.models[model].recoveries or self.recoveries

    def trains(self, model: str) -> bool:
        """Tell whether adapters are trained for a model of the study."""
        return any("lora" in recovery for recovery in self.recoveries_of(model))

    def methods_of(self, model: str) -> list[str]:
        """Return the methods that a model takes, without those of sizes that it has not."""
        others = self.calibration.sizes.keys() - self.sizes_of(model).keys()
        return [
            name
            for name, method in self.methods.items()
            if self.models[model].takes(name) and method.sequences not in others
        ]

    def make_measures(self, where: str = "study") -> dict[str, Measure]:
        """Return every measure of the study, with its settings, by its name in the study.

        Raises:
            HfpruneError: an unknown measure or setting, with the nearest valid one; names `where` and the key.
        """
        return {name: entry.make(name, f"{where}: measures.{name}") for name, entry in self.measures.items()}

    def corpus_of(self, method: str) -> str:
        """Return the corpus that a method is calibrated on: its own, else the study's."""
        return self.methods[method].corpus or self.calibration.corpus
