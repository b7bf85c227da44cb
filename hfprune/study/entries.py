"""Entries of a study: a measure with its settings, and a model with what the study does to it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hfprune.measurement import MEASURES, Measure
from hfprune.results import DENSE
from hfprune.settings import Listed, Name, Ratio, Strict, distinct

# Marks a list that may not repeat a value.
Distinct = AfterValidator(distinct)
Ratios = Annotated[list[Annotated[Ratio, Field(ge=0.001, lt=1)]], Listed, Distinct]


class NamedMeasure(Strict):
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
            HfpruneError: an unknown measure or setting; names `where`, the key and the nearest valid one.
        """
        return MEASURES.make(self.measure or name, self.settings, where)


class StudyMeasure(NamedMeasure):
    methods: Annotated[list[Name] | None, Listed] = Field(
        default=None, description="the methods that are measured; null: all. The dense model always is"
    )
    ratios: Annotated[list[Ratio] | None, Listed] = Field(
        default=None, description="the ratios that are measured; null: all. The dense model always is"
    )

    def covers(self, method: str, ratio: float | None = None) -> bool:
        """Tell whether a method's cells at a ratio are measured; without a ratio, whether its scoring is."""
        if method == DENSE:
            return True
        wanted = self.methods is None or method in self.methods
        return wanted and (self.ratios is None or ratio is None or ratio in self.ratios)


def _joined(given: Any) -> Any:
    """Read `[linear, lora]`, one after the other, as `linear+lora`."""
    return "+".join(map(str, given)) if isinstance(given, list) else given


RecoveryKind = Annotated[Literal["none", "linear", "lora", "linear+lora"], BeforeValidator(_joined)]
Recoveries = Annotated[list[RecoveryKind], Listed, Distinct]


class StudyModel(Strict):
    source: str | None = Field(
        default=None,
        description="a folder, a file or a place on the hub, if the catalogue lacks the model",
    )
    ratios: Ratios | None = Field(default=None, min_length=1, description="replaces the study's ratios")
    methods: Annotated[list[Name], Listed, Distinct] | None = Field(
        default=None, min_length=1, description="the methods that prune it; null: all of the study's"
    )

    recoveries: Recoveries | None = Field(
        default=None, min_length=1, description="replaces the study's recoveries"
    )
