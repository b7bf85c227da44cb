"""Draw the figures from the tidy tables, all or some, as PDF, SVG and PNG."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hfprune.settings import Strict, nearest
from hfprune.stages.fields import PaperFolder
from hfprune.study.layout import FIGURES

EXAMPLE = "hfprune figures --results results/methods --only fidelity --style mine.mplstyle --format pdf"


def _figures(names: list[str]) -> list[str]:
    for name in names:
        if name not in FIGURES:
            raise ValueError(f"no figure {name!r}{nearest(name, [*FIGURES])}")
    return names


class Config(Strict):
    """Flags of `hfprune figures`."""

    results: Path = Field(description="folder with the tidy tables; CSV is enough")
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the figures (`figures` in the results folder)"
    )
    only: Annotated[list[str], AfterValidator(_figures)] | None = Field(
        default=None, description=f"the figures to draw, of {', '.join(FIGURES)} (all)"
    )
    format: list[Literal["pdf", "svg", "png"]] = Field(
        default=["pdf", "svg", "png"], description="the files of each figure"
    )
    style: Path | None = Field(
        default=None, description="a style file of matplotlib, applied over the style of these figures"
    )


def run(config: Config) -> None:
    """Draw the figures, and say which have no data."""
    from hfprune.report.figures import write_figures

    out = config.out or config.results / "figures"
    absent = write_figures(config.results, config.paper, out, config.only, config.format, config.style)
    for name, files in absent.items():
        print(f"{name}: not drawn, since {config.results} has no {' and no '.join(files)}")
