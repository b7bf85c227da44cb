"""Gather the measurements of a study into one set of files."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.settings import load
from hfprune.stages import Command
from hfprune.stages.fields import CatalogueFile, ResultsFolder, StudyFile


class Collect(Command):
    """The tidy tables of a study."""

    example: ClassVar = "hfprune collect --study config/studies/demo.yaml --results results/demo"

    study: StudyFile
    results: ResultsFolder
    partial: bool = Field(
        default=False, description="collect the results that exist; without this, a missing one is an error"
    )
    out: Path | None = Field(default=None, description="folder of the tables (the results folder)")
    catalogue: CatalogueFile = Path("config/assets.yaml")

    def run(self) -> None:
        """Gather the values, items and records of one study, and those of its scores and plans.

        Raises:
            HfpruneError: results are missing and `partial` is false, or there are none at all.
        """
        from hfprune.assets.catalogue import Catalogue
        from hfprune.results.gathering import collect
        from hfprune.stages.jobs import collected, list_jobs
        from hfprune.study.files import load_files

        files = load_files(self.study, load(Catalogue, self.catalogue))
        within = [file.relative_to(files.file("")) for file in collected(files, list_jobs(files))]
        expected = [self.results / file for file in within]
        missing = [path for path in expected if not path.exists()]
        if missing and not self.partial:
            raise HfpruneError(
                f"{len(missing)} results are missing, the first is {missing[0]}; run the study, or use --partial"
            )
        present = [path for path in expected if path.suffix == ".json" and path.exists()]
        if not present:
            raise HfpruneError(f"{self.results}: no result of {files.name} is there, in {self.results}/cells")
        collect(self.study, present, self.results, self.out or self.results)
