"""A method: a named, configured way to get a pruned model."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from hfprune.calibration.sizes import sized
from hfprune.settings import Listed, Name, Ratio, Strict
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitShares


def _fit_for_print(label: str) -> str:
    """Refuse what Markdown, LaTeX or matplotlib would read as a sign of their own."""
    if not label.strip() or not label.isprintable() or set(label) & set("|*$\\"):
        raise ValueError(f"{label!r} is no label: give words without |, *, $, \\ and line ends")
    return label.strip()


def hexadecimal(colour: str) -> str:
    """Return a colour that is spelt `#RRGGBB`.

    Raises:
        ValueError: it is spelt otherwise.
    """
    if not re.fullmatch("#[0-9A-Fa-f]{6}", colour):
        raise ValueError(f"{colour!r} is no colour: give one as '#0072B2', in quotes")
    return colour


Units = Annotated[
    UnitShares,
    Field(
        description="units to remove: a kind (neurons, key_value_groups, layers), a list of kinds, "
        "or their shares of the removed parameters, as {neurons: 0.7, layers: 0.3}"
    ),
]


class ByCriterion(Strict):
    """A criterion with its options, and how many calibration sequences it reads."""

    criterion: Name | None = Field(default=None, description="defaults to the method's own name")
    options: dict[str, Any] = Field(default={})
    sequences: PositiveInt | None = Field(
        default=None,
        description="number of calibration sequences that it reads, from the first, or a size; null: all",
    )

    def of_size(self, name: str, size: int) -> Self:
        """Return the method, which is called `name`, on samples of so many sequences."""
        return self.model_copy(update={"criterion": self.criterion or name, "sequences": size})


class Method(ByCriterion):
    """A named, configured way to get a pruned model: a criterion with options, or an external baseline."""

    corpus: Name | None = Field(
        default=None, description="the corpus for its calibration; null: the study's calibration corpus"
    )
    units: Units = Field(default={"neurons": None})
    allocation: Allocation = Allocation()
    disputed_with: Name | None = Field(
        default=None,
        description="another method: keep what the plans of both keep, and of what they dispute a random choice, "
        "as many; it tells whether the choice of either is better than a coin",
    )
    bias: bool = Field(
        default=False,
        description="put the mean of what the plan takes from a layer into its bias, as FLAP does",
    )
    steps: PositiveInt = Field(
        default=1,
        description="prune in so many equal parts, and score what is left before each of them; 1: at once",
    )
    ratios: Annotated[list[Ratio] | None, Listed] = Field(
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
    colour: Annotated[str, AfterValidator(hexadecimal)] | None = Field(
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
        if self.disputed_with and (
            self.steps > 1 or self.allocation != Allocation(spare=self.allocation.spare)
        ):
            raise ValueError(
                "disputed_with: give neither steps nor an allocation by which layers differ in width"
            )
        if self.bias and self.units.keys() == {"layers"}:
            raise ValueError("bias: a plan of layers alone cuts nothing that a bias could replace")
        return self

    def of_size(self, name: str, size: int) -> Self:
        """Return the method, which is called `name`, on samples of so many sequences."""
        label = self.label and f"{self.label}, {size:,} sequences"
        other = self.disputed_with and sized(self.disputed_with, size)
        return super().of_size(name, size).model_copy(update={"label": label, "disputed_with": other})

    def of_any_size(self, size: int) -> Self:
        """Return the method that this is one of by `of_size`, without a size."""
        label = self.label and self.label.removesuffix(f", {size:,} sequences")
        other = self.disputed_with and self.disputed_with.removesuffix(sized("", size))
        return self.model_copy(update={"sequences": None, "label": label, "disputed_with": other})
