"""Measure which of float32 and bfloat16 is faster here; a study with `dtype: auto` asks once."""

from pathlib import Path

from pydantic import Field

from hfprune.files import write_json
from hfprune.settings import Strict

EXAMPLE = "hfprune dtype --out dtype.json"


class Config(Strict):
    """Flags of `hfprune dtype`."""

    out: Path | None = Field(
        default=None, description="JSON file of the answer and its reason (none: print only)"
    )


def run(config: Config) -> None:
    """Print the faster dtype, and write it to `out` if it is given."""
    from hfprune.devices.lease import default_device
    from hfprune.devices.rates import product_rate

    rates = {dtype: product_rate(dtype, default_device()) for dtype in ("float32", "bfloat16")}
    dtype = max(rates, key=lambda name: rates[name])
    print(
        f"{dtype}: a product of matrices is {rates[dtype] / min(rates.values()):.1f} times as fast as in the other"
    )
    if config.out:
        write_json(config.out, {"dtype": dtype, "operations_per_second": rates})
