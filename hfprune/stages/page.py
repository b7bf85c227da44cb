"""Write the page of one or several studies as one HTML file that needs no network."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.stages import Stage
from hfprune.stages.fields import PaperFolder


class WritePage(Stage):
    """The page of a study, or of several."""

    example: ClassVar = "hfprune page --results results/demo results/dose --out report.html"

    results: list[Path] = Field(min_length=1, description="results folders of `collect`, one per study")
    paper: PaperFolder = Path("paper")
    out: Path = Field(description="file of the page")

    def run(self) -> None:
        """Write the page."""
        from hfprune.page.render import write_page

        write_page(self.results, self.paper, self.out)
