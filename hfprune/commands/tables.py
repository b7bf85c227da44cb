"""Write the tables, the paper's with our rows beside the published ones, as CSV, Markdown and LaTeX."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from hfprune.commands.flags import PaperFolder
from hfprune.report.publication import publication_names
from hfprune.settings import Strict, nearest

EXAMPLE = "hfprune tables --results results/demo --only table7 measures"
TABLES = publication_names("tables")


def _tables(names: list[str]) -> list[str]:
    for name in names:
        if name not in TABLES:
            raise ValueError(f"no table {name!r}{nearest(name, TABLES)}")
    return names


class Config(Strict):
    """Flags of `hfprune tables`."""

    results: Path = Field(description="folder with the tidy tables; CSV is enough")
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the tables (`tables` in the results folder)"
    )
    only: Annotated[list[str], AfterValidator(_tables)] | None = Field(
        default=None, description=f"the tables to write, of {', '.join(TABLES)} (all)"
    )


def run(config: Config) -> None:
    """Write the tables, and say which have no data."""
    from hfprune.report.writing import write_tables

    lacking = write_tables(config.results, config.paper, config.out or config.results / "tables", config.only)
    for name, files in lacking.items():
        print(f"{name}: not written, since {config.results} has no {' and no '.join(files)}")
