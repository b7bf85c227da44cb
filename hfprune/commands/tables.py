"""Write the paper's tables, our rows beside the published ones, as CSV, Markdown and LaTeX."""

from pathlib import Path

from pydantic import Field

from hfprune.commands.flags import PaperFolder
from hfprune.settings import Strict

EXAMPLE = "hfprune tables --results results/demo"


class Config(Strict):
    """Flags of `hfprune tables`."""

    results: Path = Field(description="folder with results.parquet")
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the tables (`tables` in the results folder)"
    )


def run(config: Config) -> None:
    """Write the tables."""
    from hfprune.report.papers import write_tables

    out = config.out or config.results / "tables"
    write_tables(config.results / "results.parquet", config.paper, out)
