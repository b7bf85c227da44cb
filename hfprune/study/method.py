"""A method: a named, configured way to get a pruned model."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hfprune.cells import DENSE
from hfprune.settings import Listed, Name, Ratio, Strict
from hfprune.settings.allocation import Allocation
from hfprune.settings.units import UnitShares


def _fit_for_print(label: str) -> str:
    """Refuse characters that Markdown, LaTeX or matplotlib would interpret."""
    if not label.strip() or not label.isprintable() or set(label) & set("|*$\\"):
        raise ValueError(f"{label!r} is no label: give words without |, *, $, \\ and line ends")
    return label.strip()


def hexadecimal(colour: str) -> str:
    """Return `colour`, which must be `#RRGGBB`.

    Raises:
        ValueError: it is not.
    """
    if not re.fullmatch("#[0-9A-Fa-f]{6}", colour):
        raise ValueError(f"{colour!r} is no colour: give one as '#0072B2', in quotes")
    return colour


# A flag gives text.
Bits = Annotated[Literal[8, 4], BeforeValidator(lambda bits: int(bits) if bits in ("8", "4") else bits)]
Units = Annotated[
    UnitShares,
    Field(
        description="units to remove: a kind (neurons, key_value_groups, layers), a list of kinds, "
        "or their shares of the removed parameters, as {neurons: 0.7, layers: 0.3}"
    ),
]


class ByCriterion(Strict):
    """A criterion with its options."""

    replaced: ClassVar = {
        "sequences": "how many sequences are read is a calibration's; give `sizes` there",
        "corpus": "texts are listed under `calibrations`, and every method is scored on each",
        "steps": "a study prunes at once; `hfprune score --plan` prunes in steps",
    }

    criterion: Name | None = Field(default=None, description="defaults to the method's own name")
    options: dict[str, Any] = Field(default={})


class Method(ByCriterion):
    """A named, configured way to get a pruned model: a criterion with options, or an external baseline."""

    units: Units = Field(default={"neurons": None})
    allocation: Allocation = Allocation()
    bias: bool = Field(
        default=False,
        description="add the mean output that the plan removes from a layer to its bias, as FLAP does",
    )
    ratios: Annotated[list[Ratio] | None, Listed] = Field(
        default=None, min_length=1, description="ratios of this method; null: all of the study's"
    )
    baseline: Name | None = Field(
        default=None,
        description="instead of a criterion: the name of a rule file in workflow/rules/baselines",
    )
    model: Name | None = Field(
        default=None,
        description="instead of a criterion: a whole model, `dense` or another of the catalogue with the same "
        "tokenizer, such as the next smaller one",
    )
    quantised: Bits | None = Field(
        default=None,
        description="bits of the weights of the decoder layers, rounded in memory after plan and reconstruction",
    )
    label: Annotated[str, AfterValidator(_fit_for_print)] | None = Field(
        default=None,
        description="name in tables and figures; null: the criterion and the settings that differ",
    )
    colour: Annotated[str, AfterValidator(hexadecimal)] | None = Field(
        default=None, description="colour in figures, such as '#0072B2'; null: chosen automatically"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Method":
        own = {"baseline", "model", "quantised", "ratios", "label", "colour"}
        if self.unscored and (self.model_fields_set - own or (self.baseline and self.model)):
            raise ValueError(
                "a baseline or a model takes no criterion and no key but quantised, ratios, label and colour"
            )
        if self.model == DENSE and not self.quantised:
            raise ValueError("model: dense is measured anyway; add `quantised: 8` or `quantised: 4`")
        return self

    @property
    def unscored(self) -> bool:
        """Whether a baseline or another model replaces a criterion."""
        return bool(self.baseline or self.model)

    @model_validator(mode="after")
    def _allocation_fits(self) -> "Method":
        if reason := self.allocation.unfit(self.units):
            raise ValueError(reason)
        if self.bias and self.units.keys() == {"layers"}:
            raise ValueError("bias: a plan of layers alone cuts nothing that a bias could replace")
        return self
