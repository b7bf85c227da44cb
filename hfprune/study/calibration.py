"""The calibration of a study: its sequences, and the sizes and resamples that scores are made of."""

from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from hfprune.assets.text import Text
from hfprune.calibration.sizes import Sizes


def _enough_for_a_spread(resamples: int) -> int:
    if resamples == 1:
        raise ValueError("one resample has no spread: give 0, or at least 2 (8 is a good number)")
    return resamples


Resamples = Annotated[
    NonNegativeInt,
    AfterValidator(_enough_for_a_spread),
    Field(
        description="number of plans, beside the method's own, that another draw of the calibration might have "
        "given; fidelity and perplexity are measured on each, so that intervals cover the draw"
    ),
]

ContinuedAfter = Annotated[
    PositiveInt | None,
    Field(
        description="the model writes each block on after so many of its tokens, each drawn from its own "
        "next-token distribution at temperature 1; null: the text as it is"
    ),
]


class Calibration(Text):
    """How calibration blocks are drawn from a corpus, and of which of them scores and resamples are made."""

    continued_after: ContinuedAfter = None
    resamples: Resamples = 0
    sizes: Sizes = Field(
        default={},
        description="numbers of sequences: in place of a method that reads all, one for each size, with disjoint "
        "samples of it as draws; or {size: the most samples}. One pass serves all",
    )

    @model_validator(mode="after")
    def _something_to_write(self) -> "Calibration":
        if self.continued_after and self.continued_after >= self.length:
            raise ValueError(
                f"continued_after: {self.continued_after} leaves nothing to write of {self.length} tokens; "
                "give a smaller number"
            )
        return self
