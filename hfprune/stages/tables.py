"""Write the tables of a study as CSV, Markdown and LaTeX; the paper's have our rows beside the published ones."""

from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from hfprune.report.publication import checked_names, publication_names
from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, PaperFolder


class WriteTables(Stage):
    """Tables of a study."""

    example: ClassVar = "hfprune tables --results results/demo --only table7 measures"

    results: CollectedFolder
    paper: PaperFolder = Path("paper")
    out: Path | None = Field(
        default=None, description="folder of the tables (`tables` in the results folder)"
    )
    only: Annotated[list[str], AfterValidator(partial(checked_names, "tables"))] | None = Field(
        default=None, description=f"the tables to write, of {', '.join(publication_names('tables'))} (all)"
    )

    def run(self) -> None:
        """Write the tables, and print which have no data."""
        from hfprune.report.table_files import write_tables
        from hfprune.results.reader import Results

        Results(self.results, self.paper).check_results()
        lacking = write_tables(self.results, self.paper, self.out or self.results / "tables", self.only)
        for name, files in lacking.items():
            print(f"{name}: not written, since {self.results} has no {' and no '.join(files)}")
