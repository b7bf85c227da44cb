"""Entries of a study: its lists, and its models with their own settings."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.errors import distinct
from hfprune.settings import Listed, Name, Ratio, Strict
from hfprune.settings.recovery import Lora

# Marks a list that may not repeat a value.
Distinct = AfterValidator(distinct)
Ratios = Annotated[list[Annotated[Ratio, Field(ge=0.001)]], Listed, Distinct]


def _joined(given: Any) -> Any:
    """Read `[linear, lora]`, one after the other, as `linear+lora`."""
    return "+".join(map(str, given)) if isinstance(given, list) else given


def _listable(recovery: Recovery) -> Recovery:
    if recovery is Recovery.BIAS:
        raise ValueError("bias is no recovery of a study: give a method `bias: true`")
    return recovery


Recoveries = Annotated[
    list[Annotated[Recovery, BeforeValidator(_joined), AfterValidator(_listable)]], Listed, Distinct
]

Names = Annotated[list[Name], Listed, Distinct]


class Chosen(Strict):
    """Which of the study's methods a part of it takes."""

    methods: Names | None = Field(default=None, min_length=1, description="only these methods; null: all")
    without: Names = Field(
        default=[], description="all methods but these, so that methods added later are included"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.methods and self.without:
            raise ValueError("give `methods` or `without`, not both")
        return self

    def takes(self, method: str) -> bool:
        """Tell whether a method of the study is taken."""
        return method not in self.without if self.methods is None else method in self.methods


class ChosenCells(Chosen):
    """Which of the study's cells a part of it takes; the dense model is always among them."""

    methods: Names | None = Field(
        default=None, description="only these methods; []: the dense model alone; null: all"
    )
    ratios: Annotated[list[Ratio] | None, Listed] = Field(
        default=None, description="only these ratios; null: all"
    )

    def covers(self, method: str, ratio: float | None = None) -> bool:
        """Tell whether a method's cells at a ratio are taken; without a ratio, whether its scoring is."""
        if method == DENSE:
            return True
        return self.takes(method) and (self.ratios is None or ratio is None or ratio in self.ratios)


class StudyModel(Chosen):
    """A model of a study: its source, and its deviations from the study's lists."""

    replaced: ClassVar = {
        "sizes": "give the sizes to a calibration, and name this in `calibrations` of the model"
    }

    source: str | None = Field(
        default=None,
        description="a folder, a file or a place on the hub, if the catalogue lacks the model",
    )
    ratios: Ratios | None = Field(default=None, min_length=1, description="replaces the study's ratios")
    recoveries: Recoveries | None = Field(
        default=None, min_length=1, description="replaces the study's recoveries"
    )
    calibrations: Names | None = Field(
        default=None, min_length=1, description="only these calibrations; null: all"
    )


class LoraRecovery(Lora, ChosenCells):
    """How pruned models recover, on which text, and which cells; the dense model always recovers, as control."""

    instructions: Name
    batch_tokens: PositiveInt | None = Field(
        default=None, description="token budget of one forward pass; null: by device"
    )


def by_name(named: Any, *, are_models: bool) -> Any:
    """Return models or methods by name; a list of names means entries with defaults, a model as text its source.

    Raises:
        ValueError: a model's place stands where its name should.
    """
    if isinstance(named, list) and all(isinstance(name, str) for name in named):
        named = dict.fromkeys(distinct(named))
    if not isinstance(named, dict):
        return named
    spelt = [name for name in named if "/" in str(name)]
    if spelt and are_models:
        raise ValueError(f"{spelt[0]!r} is no name; give it one, as `models: {{mine: {spelt[0]}}}`")
    if are_models:
        named = {
            name: {"source": entry} if isinstance(entry, str) else entry for name, entry in named.items()
        }
    return {name: {} if value is None else value for name, value in named.items()}
