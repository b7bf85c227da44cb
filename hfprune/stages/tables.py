"""Write the tables, the paper's with our rows beside the published ones, as CSV, Markdown and LaTeX."""

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from hfprune.report.publication import known, publication_names
from hfprune.settings import Strict
from hfprune.stages.fields import CollectedFolder, PaperFolder

EXAMPLE = "hfprune tables --results results/demo --only table7 measures"


class Config(Strict):
    """Flags of `hfprune tables`."""

    results: CollectedFolder
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the tables (`tables` in the results folder)"
    )
    only: Annotated[list[str], AfterValidator(partial(known, "tables"))] | None = Field(
        default=None, description=f"the tables to write, of {', '.join(publication_names('tables'))} (all)"
    )


def run(config: Config) -> None:
    """Write the tables, and say which have no data."""
    from hfprune.report.collected import Collected
    from hfprune.report.writing import write_tables

    Collected(config.results, config.paper).check_results()
    lacking = write_tables(config.results, config.paper, config.out or config.results / "tables", config.only)
    for name, files in lacking.items():
        print(f"{name}: not written, since {config.results} has no {' and no '.join(files)}")
