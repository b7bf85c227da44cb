"""A study: models × methods × ratios × seeds × recoveries, and the measures."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hfprune.assets.text import Text
from hfprune.calibration.folds import FOLDS
from hfprune.criteria import CRITERIA
from hfprune.errors import distinct, nearest
from hfprune.measurement import Measure, NamedMeasure
from hfprune.results import DENSE
from hfprune.settings import Dtype, Listed, Name, Placement, Strict
from hfprune.settings.recovery import Linear
from hfprune.study.entries import (
    ChosenCells,
    Distinct,
    Ratios,
    Recoveries,
    Recovery,
    RecoveryKind,
    StudyModel,
)
from hfprune.study.method import Method


def _enough_for_a_spread(resamples: int) -> int:
    if resamples == 1:
        raise ValueError("one resample has no spread: give 0, or at least 2 (8 is a good number)")
    return resamples


Resamples = Annotated[
    NonNegativeInt,
    AfterValidator(_enough_for_a_spread),
    Field(
        description="number of plans, beside the method's own, that another draw of the calibration might have "
        "given; fidelity and perplexity are measured on each, so that intervals cover the draw"
    ),
]


class Calibration(Text):
    """How calibration blocks are drawn from a corpus, and how often scores are resampled from them."""

    resamples: Resamples = 0


class StudyMeasure(NamedMeasure, ChosenCells):
    """A measure with its settings, and the cells that it is taken of."""


class Study(Placement):
    """One YAML file: models × methods × ratios × seeds × recoveries, and the measures."""

    description: str = ""
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
    calibration: Calibration
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

    effects: Annotated[list[Literal["losses", "correlations"]], Listed, Distinct] = Field(
        default=[],
        description="effects beside those of every study. losses: the log perplexity that a plan adds, per that "
        "of entropy; correlations: of each outcome with accuracy, over the plans",
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
        named = [name for family in self.corrected_together for name in family]
        for name in named:
            if name not in self.measures:
                raise ValueError(f"corrected_together: unknown {name!r}{nearest(name, [*self.measures])}")
            if named.count(name) > 1:
                raise ValueError(f"corrected_together: {name!r} stands twice; an outcome has one family")
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

    def ratios_of(self, model: str) -> list[float]:
        return self.models[model].ratios or self.ratios

    def recoveries_of(self, model: str) -> list[RecoveryKind]:
        return self.models[model].recoveries or self.recoveries

    def trains(self, model: str) -> bool:
        """Tell whether adapters are trained for a model of the study."""
        return any("lora" in recovery for recovery in self.recoveries_of(model))

    def methods_of(self, model: str) -> list[str]:
        return [*filter(self.models[model].takes, self.methods)]

    def make_measures(self, where: str = "study") -> dict[str, Measure]:
        """Return every measure of the study, with its settings, by its name in the study.

        Raises:
            HfpruneError: an unknown measure or setting, with the nearest valid one; names `where` and the key.
        """
        return {name: entry.make(name, f"{where}: measures.{name}") for name, entry in self.measures.items()}

    def corpus_of(self, method: str) -> str:
        return self.methods[method].corpus or self.calibration.corpus


class Config(Strict):
    """`config/config.yaml`: the study to run."""

    study: str = Field(
        default="auto",
        description="a file in config/studies (without .yaml), or auto: the largest of the paper's studies that "
        "the visible device can run in a day, else demo",
    )
    device: str = Field(
        default="auto",
        description="the device by which memory and time of jobs are predicted, as `hfprune cost --device` names "
        "it; auto: the one that is visible",
    )
    cells_per_job: PositiveInt = Field(
        default=1,
        description="the most cells of one model that one process measures, one after another: 1 where many jobs "
        "run at once, more on a single GPU, where each start costs its time",
    )
