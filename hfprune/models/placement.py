"""Where the weights of a model lie: on one device, or spread over all GPUs, main memory and disk."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hfprune.settings import Strict

# A number of bytes, or one of accelerate's units.
_SIZE = re.compile(r"\d+|\d+(\.\d+)?[KMG]i?B")


def _limits(given: Any) -> Any:
    """Read `{0: 10GB, cpu: 30GB}`, on the command line also `0=10GB,cpu=30GB`."""
    pairs = dict(part.partition("=")[::2] for part in given.split(",")) if isinstance(given, str) else given
    if not isinstance(pairs, dict):
        raise ValueError("give a size for each device, such as 0=10GB,cpu=30GB")
    for device, size in pairs.items():
        if str(device) != "cpu" and not str(device).isdecimal():
            raise ValueError(
                f"{device!r} is no device: give cpu, or the number of a GPU, and a size, as cpu=30GB"
            )
        if not _SIZE.fullmatch(str(size)):
            raise ValueError(f"{size!r}, the size of {device}, is none: give one such as 30GB or 500MiB")
    return {
        device if device == "cpu" else int(device): int(size) if str(size).isdecimal() else size
        for device, size in pairs.items()
    }


class Placement(Strict):
    """Where the weights lie, in the words of transformers' `from_pretrained`."""

    device_map: Literal["auto"] | None = Field(
        default=None,
        description="auto: a model that is larger than a GPU is spread over all GPUs, then main memory, then "
        "disk (one device)",
    )
    max_memory: Annotated[dict[int | str, int | str], BeforeValidator(_limits)] = Field(
        default={},
        description="the most that weights take on each device of a device_map, as 0=10GB,cpu=30GB; disk takes "
        "the rest, a device that is not named nothing (all that is free)",
    )

    @model_validator(mode="after")
    def _limits_need_a_map(self) -> "Placement":
        if self.max_memory and not self.device_map:
            raise ValueError("max_memory limits a device_map: add device_map: auto (--device-map auto)")
        return self

    def placement(self) -> dict[str, Any]:
        """Return what is set, as `load_model` takes it and a result records it; nothing by default."""
        return self.model_dump(include={*Placement.model_fields}, exclude_defaults=True)
