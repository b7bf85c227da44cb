"""Draw the figures as PDF, SVG and PNG from the tidy tables."""

from pathlib import Path

from pydantic import Field

from hfprune.commands.flags import PaperFolder
from hfprune.settings import Strict

EXAMPLE = "hfprune figures --results results/demo --out figures/demo"


class Config(Strict):
    """Flags of `hfprune figures`."""

    results: Path = Field(description="folder with the tidy tables")
    paper: PaperFolder = Path("paper")
    out: Path = Field(description="folder of the figures")


def run(config: Config) -> None:
    """Draw the figures."""
    from hfprune.report.figures import write_figures

    write_figures(config.results, config.paper, config.out)
