"""Measure which of float32 and bfloat16 is faster here; a study with `dtype: auto` asks once."""

from pathlib import Path

from pydantic import Field

from hfprune.settings import Strict

EXAMPLE = "hfprune dtype --out dtype.json"


class Config(Strict):
    """Flags of `hfprune dtype`."""

    out: Path | None = Field(
        default=None, description="JSON file of the answer and its reason (none: print only)"
    )


def run(config: Config) -> None:
    """Print the faster dtype, and write it to `out` if it is given."""
    from hfprune.files import write_json
    from hfprune.models.device import product_seconds

    seconds = {dtype: product_seconds(dtype) for dtype in ("float32", "bfloat16")}
    dtype = min(seconds, key=lambda name: seconds[name])
    print(
        f"{dtype}: a product of matrices takes {seconds[dtype] / max(seconds.values()):.0%} of the other's time"
    )
    if config.out:
        write_json(config.out, {"dtype": dtype, "seconds": seconds})
