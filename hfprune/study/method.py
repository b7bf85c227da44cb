"""A method: a named, configured way to get a pruned model."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from hfprune.settings import Name, Strict, distinct, nearest

UnitKind = Literal["neurons", "key_value_groups", "layers"]


def _unit_shares(given: Any) -> Any:
    """Read a kind, a list of kinds, or kinds with their shares, as a mapping from kind to share or `None`."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        given = dict.fromkeys(distinct([*given]))
    if not isinstance(given, dict):
        return given
    for kind in given:
        if kind not in get_args(UnitKind):
            raise ValueError(f"unknown kind of unit {kind!r}{nearest(str(kind), [*get_args(UnitKind)])}")
    shares = [share for share in given.values() if share is not None]
    if not given or (shares and (len(shares) < len(given) or abs(sum(shares) - 1) > 1e-6)):
        raise ValueError(
            "give a kind of unit, or several, or shares of the removed parameters that add up to 1"
        )
    return given


# Kind → its share of the removed parameters. Without shares, the same fraction of every kind is removed.
UnitShares = Annotated[
    dict[UnitKind, Annotated[float, Field(gt=0, le=1)] | None], BeforeValidator(_unit_shares)
]


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


def _fit_for_print(label: str) -> str:
    """Refuse what Markdown, LaTeX or matplotlib would read as a sign of their own."""
    if not label.strip() or not label.isprintable() or set(label) & set("|*$\\"):
        raise ValueError(f"{label!r} is no label: give words without |, *, $, \\ and line ends")
    return label.strip()


def _hexadecimal(colour: str) -> str:
    if not re.fullmatch("#[0-9A-Fa-f]{6}", colour):
        raise ValueError(f"{colour!r} is no colour: give one as '#0072B2', in quotes")
    return colour


class Method(Strict):
    """A named, configured way to get a pruned model: a criterion with options, or an external baseline."""

    criterion: Name | None = Field(default=None, description="defaults to the method's own name")
    options: dict[str, Any] = Field(default={})
    sequences: PositiveInt | None = Field(
        default=None, description="number of calibration sequences that it reads, from the first; null: all"
    )
    corpus: Name | None = Field(
        default=None, description="the corpus for its calibration; null: the study's calibration corpus"
    )
    units: UnitShares = Field(
        default={"neurons": None},
        description="units to remove: a kind (neurons, key_value_groups, layers), a list of kinds, "
        "or their shares of the removed parameters, as {neurons: 0.7, layers: 0.3}",
    )
    allocation: Allocation = Allocation()
    steps: PositiveInt = Field(
        default=1,
        description="prune in so many equal parts, and score what is left before each of them; 1: at once",
    )
    ratios: list[float] | None = Field(
        default=None, min_length=1, description="the ratios that it is for; null: all of the study's"
    )
    baseline: Name | None = Field(
        default=None,
        description="in place of a criterion: the name of a rule file in workflow/rules/baselines",
    )
    label: Annotated[str, AfterValidator(_fit_for_print)] | None = Field(
        default=None,
        description="its name in tables and figures; null: its criterion and the settings that differ",
    )
    colour: Annotated[str, AfterValidator(_hexadecimal)] | None = Field(
        default=None, description="its colour in figures, as '#0072B2'; null: the suite chooses"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Method":
        if self.baseline and self.model_fields_set - {"baseline", "ratios", "label", "colour"}:
            raise ValueError("a baseline takes no criterion and no other key; its rule decides everything")
        return self

    @model_validator(mode="after")
    def _allocation_fits(self) -> "Method":
        if reason := self.allocation.unfit(self.units):
            raise ValueError(reason)
        return self
