"""Blocks of tokens from a corpus: how many, how long, how they are drawn."""

from typing import Literal

from pydantic import Field, PositiveInt

from hfprune.assets.spelling import FORMS
from hfprune.settings import Strict

Sampling = Literal["crop", "pack", "shuffle"]


class Blocks(Strict):
    """Number, length and sampling of blocks of tokens, whatever the text."""

    sequences: PositiveInt = Field(description="number of blocks; fewer if the corpus is smaller")
    length: int = Field(gt=1, description="tokens per block; the first has nothing to be predicted from")
    sampling: Sampling = Field(
        default="crop",
        description="crop: one random crop of each document that is long enough, as in the official code; "
        "pack: shuffled documents end to end; shuffle: the same blocks in random order",
    )


class Text(Blocks):
    """Blocks of tokens from a named corpus."""

    corpus: str = Field(
        min_length=1,
        description=f"a name in config/assets.yaml; on the command line also {FORMS['corpora'].ways()}",
    )
