"""The rules by which kept neurons are divided among layers, as settings; free of torch."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from hfprune.models.kinds import UnitShares
from hfprune.settings import Strict


class Allocation(Strict):
    """How the kept neurons are divided among layers, at the same total; a bare word is the rule."""

    rule: Literal["uniform", "global", "per_parameter"] = Field(
        default="uniform",
        description="uniform: the same number in every layer, as in the paper; "
        "global: the highest scores of all layers; "
        "per_parameter: neurons and layers in one ranking, by score per parameter",
    )
    standardize: bool = Field(
        default=False,
        description="global: rank z-scores within the layer, as FLAP does, instead of plain scores",
    )
    floor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="global: fraction of a layer's neurons that is always kept"
    )
    align: PositiveInt = Field(
        default=1,
        description="widths are multiples of this, which suits matrix units, at the same total budget",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_rule(cls, data: Any) -> Any:
        return {"rule": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _options_of_global(self) -> "Allocation":
        if self.standardize and self.rule != "global":
            raise ValueError(
                "standardize belongs to the rule 'global'; z-scores are not scores per parameter"
            )
        if self.rule == "uniform" and self.floor != 0.1:
            raise ValueError("floor belongs to the rules 'global' and 'per_parameter'")
        return self

    def unfit(self, units: UnitShares) -> str:
        """Return why these units do not fit this allocation, or "" if they do."""
        if self.rule == "per_parameter":
            if "neurons" not in units or "key_value_groups" in units:
                return (
                    f"allocation per_parameter ranks neurons, or neurons and layers, not {', '.join(units)}"
                )
            if any(share is not None for share in units.values()):
                return "allocation per_parameter decides by scores alone: give units without shares"
        return ""
