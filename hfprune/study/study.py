"""A study: models × methods × calibrations × ratios × draws × recoveries, and the measures."""

from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator, model_validator

from hfprune.calibration.folds import FOLDS
from hfprune.calibration.sizes import resamples_of
from hfprune.cells import DENSE, UNCALIBRATED
from hfprune.cells.recovery import Recovery
from hfprune.criteria import CRITERIA
from hfprune.errors import nearest, require_known
from hfprune.measurement import Measure, NamedMeasure
from hfprune.settings import Dtype, Listed, Name, Placement
from hfprune.settings.recovery import Linear
from hfprune.study.added_effects import CALIBRATIONS, CHAIN, RECOVERY, check_needs
from hfprune.study.calibration import Calibrated, Calibration, Resamples
from hfprune.study.entries import (
    ChosenCells,
    Distinct,
    LoraRecovery,
    Ratios,
    Recoveries,
    StudyModel,
    by_name,
)
from hfprune.study.method import Method


class StudyMeasure(NamedMeasure, ChosenCells):
    """A measure with its settings, and the cells that it measures."""


class Study(Placement):
    """One YAML file: models × methods × calibrations × ratios × draws × recoveries, and the measures."""

    replaced: ClassVar = {
        "calibration": "write `calibrations: {NAME: {corpus: …, sequences: …}}`; every method is scored on each",
        "seeds": "write `draws`",
        "constant": "remove it; answers are constant above 0.9 of a task's questions",
    }

    description: str = ""
    calibrations: dict[Name, Calibration] = Field(
        min_length=1,
        description="texts to calibrate on, by name; methods are scored on each text, and compared within it",
    )
    resamples: Resamples = 0
    models: dict[Name, StudyModel] = Field(min_length=1, description="models by name, or a list of names")
    methods: dict[Name, Method] = Field(min_length=1)
    ratios: Ratios = Field(min_length=1, description="fractions of all parameters removed")
    draws: Annotated[list[NonNegativeInt], Listed, Distinct] = Field(
        default=[0], min_length=1, description="numbers of the calibration samples, which seed them"
    )
    recoveries: Recoveries = Field(default=[Recovery.NONE], min_length=1)
    recovery: LoraRecovery | None = Field(
        default=None, description="how lora recovers; needed if `recoveries` lists lora"
    )
    linear: Linear = Field(default=Linear(), description="how linear recovers")
    dtype: Dtype = Field(default="bfloat16", description="precision of all models")
    measures: dict[Name, StudyMeasure] = Field(
        description="settings by measure; `measure: NAME` under another name takes the same measure again"
    )
    primary: Name | None = Field(
        default=None,
        description="measure whose first metric is the primary outcome, chosen before results are seen; all other "
        "outcomes are secondary",
    )
    corrected_together: list[Annotated[list[Name], Field(min_length=2)]] = Field(
        default=[],
        description="lists of measures whose first metrics are one family for Holm's correction, as needed for "
        "statements about several outcomes; every other outcome is a family of its own",
    )
    chain: Annotated[list[Name], Distinct] = Field(
        default=[],
        description="methods, each of which changes one setting of the one before, for the effects `steps`",
    )
    effects: Annotated[list[Name], Listed, Distinct] = Field(
        default=[],
        description="effects besides those of every study. pairs: every two methods; steps: each method of "
        "`chain` minus the one before; training: held-out losses of pruned models minus the dense one's, by "
        "training step; by_document: slopes of effects over the dense model's entropy on each document; "
        "calibrations: each method on a text minus itself, and minus the reference, on the first text; terms: "
        "differences of effects between calibrations, readings and models",
    )

    @field_validator("models", "methods", mode="before")
    @classmethod
    def _bare_name_means_defaults(cls, named: Any, info: ValidationInfo) -> Any:
        return by_name(named, are_models=info.field_name == "models")

    @model_validator(mode="after")
    def _reserved_names(self) -> "Study":
        if DENSE in self.methods:
            raise ValueError(f"{DENSE!r} is the unpruned model and cannot name a method")
        if UNCALIBRATED in self.calibrations:
            raise ValueError(f"{UNCALIBRATED!r} is the dense model's calibration; choose another name")
        for name, entry in self.measures.items():
            # The tidy table lists scoring, planning and recovery under these names.
            if name in ("size", "recovery") or (name == "cost" and (entry.measure or name) != "cost"):
                raise ValueError(f"measures: the suite itself uses the name {name!r}; choose another")
        return self

    @model_validator(mode="after")
    def _chosen_methods_and_ratios_exist(self) -> "Study":
        of_cells: dict[str, ChosenCells] = {"recovery": self.recovery} if self.recovery else {}
        of_cells |= {f"measures.{name}": entry for name, entry in self.measures.items()}
        models = {f"models.{name}": model for name, model in self.models.items()}
        for section, chosen in (*of_cells.items(), *models.items()):
            for key, methods in (("methods", chosen.methods or []), ("without", chosen.without)):
                if {*methods} - {*self.methods} and (misspelt := self._misspelt()):
                    raise ValueError(misspelt)
                require_known(f"{section}.{key}", methods, self.methods)
        valid = sorted({ratio for model in self.models for ratio in self.ratios_of(model)})
        ratios = {section: chosen.ratios for section, chosen in of_cells.items()}
        ratios |= {f"methods.{name}": method.ratios for name, method in self.methods.items()}
        for section, asked in ratios.items():
            for ratio in asked or []:
                if ratio not in valid:
                    raise ValueError(f"{section}.ratios: {ratio:g} is not among the study's ratios {valid}")
        return self

    def _misspelt(self) -> str:
        """Return a sentence about a method whose criterion is unknown, or ""."""
        criteria = [*CRITERIA.sources()]
        for name, method in self.methods.items():
            criterion = method.criterion or name
            if not method.unscored and criterion not in criteria:
                return f"methods.{name}: unknown criterion {criterion!r}{nearest(criterion, criteria)}"
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
        together = [name for family in self.corrected_together for name in family]
        require_known("primary", [self.primary] if self.primary else [], self.measures)
        require_known("chain", self.chain, self.methods)
        require_known("corrected_together", together, self.measures)
        for name in together:
            if together.count(name) > 1:
                raise ValueError(f"corrected_together: {name!r} stands twice; an outcome has one family")
        trains = self.recovery and self.recovery.held_out and any(map(self.trains, self.models))
        has = {RECOVERY: trains, CHAIN: len(self.chain) > 2, CALIBRATIONS: len(self.calibrations) > 1}
        measured = {entry.measure or name for name, entry in self.measures.items()}
        check_needs(self.effects, measured | {name for name, present in has.items() if present})
        return self

    @model_validator(mode="after")
    def _calibrations_fit(self) -> "Study":
        for name, model in self.models.items():
            require_known(f"models.{name}.calibrations", model.calibrations or [], self.calibrations)
        for name, calibration in self.calibrations.items():
            for size, count in calibration.sizes.items():
                if size * count > calibration.sequences:
                    raise ValueError(
                        f"calibrations.{name}.sizes: {count} of {size} sequences are more than the "
                        f"{calibration.sequences} of the calibration; lower the one, or raise the other"
                    )
            if self.resamples and calibration.sequences < FOLDS:
                raise ValueError(
                    f"resamples needs at least {FOLDS} sequences, one per fold, not the "
                    f"{calibration.sequences} of calibrations.{name}"
                )
        return self

    @model_validator(mode="after")
    def _recovery_fits(self) -> "Study":
        if self.recovery is None and any(map(self.trains, self.models)):
            raise ValueError("recoveries lists lora: add a recovery section, at least `instructions: NAME`")
        for model in filter(self.trains, self.models):
            for name in self.calibrations_of(model):
                if any(count > 1 for count in self.calibrations[name].sizes.values()):
                    raise ValueError(
                        f"recoveries: lora is trained for one sample of a size; give calibrations.{name} sizes "
                        "as {64: 1}, or remove lora"
                    )
        if self.device_map and any(map(self.trains, self.models)):
            raise ValueError(
                "device_map: lora trains on one device; remove it from recoveries, or device_map"
            )
        return self

    @model_validator(mode="after")
    def _draws_differ(self) -> "Study":
        most = max((count for read in self.calibrations.values() for count in read.sizes.values()), default=1)
        ordered = sorted(self.draws)
        for draw, following in pairwise(ordered):
            if following - draw < most:
                raise ValueError(
                    f"draws: {draw} and {following} are too close: a size has {most} samples, and number k of "
                    "them is draw + k"
                )
        return self

    def calibrations_of(self, model: str) -> list[str]:
        """Return the names of a model's calibrations, in the study's order."""
        own = self.models[model].calibrations
        return [name for name in self.calibrations if own is None or name in own]

    def reads(self, method: str) -> bool:
        """Tell whether a method's scores read a calibration; unknown criteria are refused elsewhere."""
        settings = self.methods[method]
        criterion = settings.criterion or method
        if settings.unscored or criterion not in CRITERIA.sources():
            return False
        return CRITERIA.load(criterion).needs != "weights"

    def calibrated(self, model: str, method: str | None = None) -> list[Calibrated]:
        """Return every calibration with every number of sequences that scores of a model read.

        A method that reads none is scored once per calibration, which a recovery may read.
        """
        calibrated = []
        for name in self.calibrations_of(model):
            sizes = [*self.calibrations[name].sizes] or [self.calibrations[name].sequences]
            if method is not None and not self.reads(method):
                sizes = [0]
            calibrated += [Calibrated(name, size) for size in sizes]
        return calibrated

    def largest(self, calibration: str) -> Calibrated:
        """Return a calibration with the largest number of its sequences that scores read."""
        sizes = [*self.calibrations[calibration].sizes] or [self.calibrations[calibration].sequences]
        return Calibrated(calibration, max(sizes))

    def samples_of(self, calibrated: Calibrated) -> int:
        """Return the number of samples in one draw of blocks: one, unless the calibration has sizes."""
        return self.calibrations[calibrated.calibration].sizes.get(calibrated.sequences, 1)

    def draws_of(self, calibrated: Calibrated) -> list[int]:
        """Return the numbers of the samples: each of `draws`, followed by further samples of a size."""
        samples = self.samples_of(calibrated)
        return [first + number for first in self.draws for number in range(samples)]

    def blocks_draw(self, draw: int) -> int:
        """Return the draw to whose blocks a sample belongs."""
        return max(first for first in self.draws if first <= draw)

    def resamples_of(self, calibrated: Calibrated) -> int:
        """Return how often a sample is resampled: never if its size has enough samples."""
        return resamples_of(self.samples_of(calibrated), self.resamples)

    def ratios_of(self, model: str) -> list[float]:
        """Return the ratios of a model: its own, or else the study's."""
        return self.models[model].ratios or self.ratios

    def recoveries_of(self, model: str) -> list[Recovery]:
        """Return the recoveries of a model: its own, or else the study's."""
        return self.models[model].recoveries or self.recoveries

    def trains(self, model: str) -> bool:
        """Tell whether adapters are trained for a model of the study."""
        return any(recovery.trains for recovery in self.recoveries_of(model))

    def methods_of(self, model: str) -> list[str]:
        """Return the names of a model's methods."""
        return [name for name in self.methods if self.models[model].takes(name)]

    def make_measures(self, where: str = "study") -> dict[str, Measure]:
        """Return every measure of the study, with its settings, by its name in the study.

        Raises:
            HfpruneError: a measure or setting is unknown; names `where`, the key and the nearest valid one.
        """
        return {name: entry.make(name, f"{where}: measures.{name}") for name, entry in self.measures.items()}
