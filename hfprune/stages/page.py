"""Write the page of a study, or of several side by side, as one HTML file that needs no network."""

from pathlib import Path

from pydantic import Field

from hfprune.settings import Strict
from hfprune.stages.fields import PaperFolder

EXAMPLE = "hfprune page --results results/methods results/sensitivity --out report.html"


class Config(Strict):
    """Flags of `hfprune page`."""

    results: list[Path] = Field(min_length=1, description="folders that `collect` wrote to, one a study")
    paper: PaperFolder = Path("paper")
    out: Path = Field(description="file of the page")


def run(config: Config) -> None:
    """Write the page."""
    from hfprune.page.writing import write_page

    write_page(config.results, config.paper, config.out)
