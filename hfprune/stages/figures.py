"""Draw the figures of a study as PDF, SVG and PNG."""

from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from hfprune.report.publication import checked_names, publication_names
from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, PaperFolder


class DrawFigures(Stage):
    """Figures of a study."""

    example: ClassVar = (
        "hfprune figures --results results/demo --only accuracy --style mine.mplstyle --format pdf"
    )

    results: CollectedFolder
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the figures (`figures` in the results folder)"
    )
    only: Annotated[list[str], AfterValidator(partial(checked_names, "figures"))] | None = Field(
        default=None, description=f"the figures to draw, of {', '.join(publication_names('figures'))} (all)"
    )
    format: list[Literal["pdf", "svg", "png"]] = Field(
        default=["pdf", "svg", "png"], description="the files of each figure"
    )
    models: list[str] | None = Field(default=None, description="the models to draw (all)")
    methods: list[str] | None = Field(
        default=None, description="the methods to draw, with the dense model (all)"
    )
    ratios: list[float] | None = Field(default=None, description="the ratios to draw (all)")
    style: Path | None = Field(
        default=None,
        description="a style file of matplotlib, applied over the suite's own; its figure.figsize is the "
        "width of a wide figure and the largest height",
    )
    width: float | None = Field(
        default=None,
        ge=3,
        description="width of a wide figure in inches, such as 3.3 for one of two columns (6.9, or the style's)",
    )
    complete: bool = Field(
        default=False,
        description="write a sentence instead of each figure without data; for the workflow",
    )

    def run(self) -> None:
        """Draw the figures, and print which have no data."""
        from hfprune.report.drawing.figure_files import write_figures
        from hfprune.results.reader import Results

        Results(self.results, self.paper).check_results()
        where = self.results, self.paper, self.out or self.results / "figures"
        asked = {"model": self.models, "method": self.methods, "ratio": self.ratios}
        absent = write_figures(
            *where,
            self.only,
            self.format,
            self.style,
            self.complete,
            {name: parts for name, parts in asked.items() if parts is not None},
            self.width,
        )
        for name, why in absent.items():
            print(f"{name}: not drawn: {why}")
