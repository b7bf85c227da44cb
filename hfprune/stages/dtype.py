"""Measure which of float32 and bfloat16 is faster here; a study with `dtype: auto` asks once."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from hfprune.files import write_json
from hfprune.stages import Output, Stage


class ChooseDtype(Stage):
    """The faster precision of this machine."""

    example: ClassVar = "hfprune dtype --out dtype.json"

    out: Annotated[Path | None, Output()] = Field(
        default=None, description="JSON file of the answer and its reason (none: print only)"
    )

    @property
    def timed(self) -> bool:
        """It is a measurement of time."""
        return True

    def run(self) -> bool | None:
        """Print the faster dtype, and write it to `out` if it is given; a file that is there is kept."""
        if self.out and self.out.exists():
            return False
        from hfprune.devices.lease import default_device
        from hfprune.devices.rates import product_rate

        rates = {dtype: product_rate(dtype, default_device()) for dtype in ("float32", "bfloat16")}
        dtype = max(rates, key=lambda name: rates[name])
        times = rates[dtype] / min(rates.values())
        print(f"{dtype}: a product of matrices is {times:.1f} times as fast as in the other")
        if self.out:
            write_json(self.out, {"dtype": dtype, "operations_per_second": rates})
        return True
