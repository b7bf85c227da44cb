"""Say what a study will cost on a device, or set the prediction beside what its finished jobs have cost.

Predictions are counts of operations, traffic and memory from the models' sizes (`hfprune.cost`), and a device's
speed from a table or measured on the spot. Nothing need be fetched, except a model whose size no table has.
"""

from pathlib import Path

from pydantic import Field, model_validator

from hfprune.settings import Strict, load
from hfprune.shipped import shipped
from hfprune.stages.fields import Shipped

EXAMPLE = "hfprune cost --study config/studies/paper.yaml --device a100-80"


class Config(Strict):
    """Flags of `hfprune cost`."""

    study: Shipped | None = Field(
        default=None, description="the study (with --results: that of the folder's name)"
    )
    results: Path | None = Field(
        default=None, description="a study's results folder: set the prediction beside what was measured"
    )
    device: str | None = Field(
        default=None,
        description="a device of the table, or `here` to measure this machine's (the visible GPU, else `here`)",
    )
    catalogue: Shipped = Field(
        default=Path("config/assets.yaml"), description="the catalogue of assets", validate_default=True
    )
    resources: Path = Field(default=Path("resources"), description="folder of the fetched assets")

    @model_validator(mode="after")
    def _something_to_count(self) -> "Config":
        if not (self.study or self.results):
            raise ValueError("give --study FILE, or --results DIR")
        return self


def run(config: Config) -> None:
    """Print the cost of the study, or prediction and measurement."""
    from hfprune.assets.catalogue import Catalogue
    from hfprune.cost.costs import Costs
    from hfprune.cost.here import find_device
    from hfprune.cost.measured import comparison
    from hfprune.cost.table import table
    from hfprune.jobs.files import load_files

    path = config.study or shipped(Path("config/studies") / f"{(config.results or Path()).name}.yaml")
    device = find_device(config.device)
    costs = Costs(load_files(path, load(Catalogue, config.catalogue)), device, config.resources)
    print(comparison(costs, config.results) if config.results else table(costs))
