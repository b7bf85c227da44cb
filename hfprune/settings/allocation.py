"""Settings of an allocation, which divides the kept neurons among layers; without torch."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from hfprune.settings import Strict
from hfprune.settings.units import UnitShares


class Allocation(Strict):
    """How the kept neurons are divided among layers, at the same total; a single word names the rule."""

    rule: Literal["uniform", "global", "joint"] = Field(
        default="uniform",
        description="uniform: the same number in every layer, as in the paper; "
        "global: the highest scores of all layers; "
        "joint: neurons and key-value groups of all layers in one ranking, as in FLAP",
    )
    standardize: bool = Field(
        default=False,
        description="global: rank z-scores within the layer, as FLAP does, instead of plain scores",
    )
    align: PositiveInt = Field(
        default=1,
        description="uniform: widths are multiples of this, which suits matrix units, at the same total budget",
    )
    spare: tuple[NonNegativeInt, NonNegativeInt] = Field(
        default=(0, 0),
        description="uniform: first and last layers that lose nothing; LLM-Pruner spares [4, 2] of 32",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_rule(cls, data: Any) -> Any:
        return {"rule": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _options_of_rules(self) -> "Allocation":
        owners = {"standardize": "global", "align": "uniform", "spare": "uniform"}
        for name, rule in owners.items():
            if self.rule != rule and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} belongs to the rule {rule!r}")
        return self

    def spared(self, layers: int) -> set[int]:
        """Return the numbers of the layers that lose nothing, in a model of `layers` layers."""
        first, last = self.spare
        return {number for number in range(layers) if number < first or number >= layers - last}

    def unfit(self, units: UnitShares) -> str:
        """Return why this allocation cannot be used with these units, or "" if it can."""
        if self.rule == "joint" and (units.keys() != {"neurons", "key_value_groups"} or any(units.values())):
            return "allocation joint ranks neurons and key_value_groups: give both as units, without shares"
        if any(self.spare) and "layers" in units:
            return "allocation spares layers from cuts within them: do not give layers as units"
        return ""
