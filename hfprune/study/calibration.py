"""The calibrations of a study: named texts, and how many of their sequences scores read."""

from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from hfprune.assets.text import Text


class Calibrated(NamedTuple):
    """A calibration by its name, and how many of its sequences a score reads (0: none)."""

    calibration: str
    sequences: int


def _enough_for_a_spread(resamples: int) -> int:
    if resamples == 1:
        raise ValueError("one resample has no spread: give 0, or at least 2 (8 is a good number)")
    return resamples


Resamples = Annotated[
    NonNegativeInt,
    AfterValidator(_enough_for_a_spread),
    Field(
        description="number of further plans, from resampled calibrations; fidelity and perplexity are measured "
        "on each, so that intervals cover the calibration sample"
    ),
]


def _with_samples(sizes: Any) -> Any:
    if isinstance(sizes, list):
        raise ValueError(f"give each size its number of samples, as {{{sizes[0] if sizes else 64}: 1}}")
    return sizes


ContinuedAfter = Annotated[
    PositiveInt | None,
    Field(
        description="the model continues each block after this many of its tokens, with tokens drawn from its "
        "next-token distribution at temperature 1; null: the text as it is"
    ),
]


class Calibration(Text):
    """How calibration blocks are drawn from a corpus, and how many of them scores read."""

    replaced: ClassVar = {"resamples": "give `resamples` to the study, beside `calibrations`"}

    continued_after: ContinuedAfter = None
    sizes: Annotated[dict[PositiveInt, PositiveInt], BeforeValidator(_with_samples)] = Field(
        default={},
        description="number of sequences → number of disjoint samples: every method is scored on each size "
        "instead of on all sequences, with its samples as draws. One pass serves all sizes",
    )
    label: str | None = Field(
        default=None, description="name in tables and figures; null: the name in the study"
    )

    @model_validator(mode="after")
    def _something_to_write(self) -> "Calibration":
        if self.continued_after and self.continued_after >= self.length:
            raise ValueError(
                f"continued_after: {self.continued_after} leaves nothing to write of {self.length} tokens; "
                "give a smaller number"
            )
        return self
