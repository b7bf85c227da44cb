"""Where the weights of a model lie: on one device, or spread over all GPUs."""

from typing import Literal

from pydantic import Field

from hfprune.settings import Strict


class Placement(Strict):
    """Where the weights lie, in the words of transformers' `from_pretrained`."""

    device_map: Literal["auto"] | None = Field(
        default=None,
        description="auto: a model that is larger than a GPU is spread over all GPUs (one device)",
    )
