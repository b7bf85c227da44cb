"""Entries of a study: its lists, and a model with what the study does to it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hfprune.names import distinct
from hfprune.settings import Listed, Name, Ratio, Strict

# Marks a list that may not repeat a value.
Distinct = AfterValidator(distinct)
Ratios = Annotated[list[Annotated[Ratio, Field(ge=0.001, lt=1)]], Listed, Distinct]


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
