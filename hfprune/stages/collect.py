"""Gather a study's results into its tables."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.settings import load
from hfprune.stages import Stage
from hfprune.stages.fields import ResultsFolder, StudyFile
from hfprune.study.layout import plan_files, result_files, score_files
from hfprune.study.study import Study


class Collect(Stage):
    """The tidy tables of a study."""

    example: ClassVar = "hfprune collect --study config/studies/demo.yaml --results results/demo"

    study: StudyFile
    results: ResultsFolder
    partial: bool = Field(
        default=False, description="collect the results that exist; by default a missing one is an error"
    )
    out: Path | None = Field(default=None, description="folder of the tables (the results folder)")

    def run(self) -> None:
        """Gather the values, items and records of one study, and what its scores and plans say.

        Raises:
            HfpruneError: results are missing, and `partial` is false; or there is none at all.
        """
        from hfprune.analysis.collect import collect

        study, name = load(Study, self.study), self.study.stem
        results = [self.results / file for file in result_files(name, study)]
        cuts = [self.results / file for files in (score_files, plan_files) for file in files(name, study)]
        missing = [path for path in [*results, *cuts] if not path.exists()]
        if missing and not self.partial:
            raise HfpruneError(
                f"{len(missing)} results are missing, the first is {missing[0]}; or use --partial"
            )
        there = [path for path in results if path.exists()]
        if not there:
            raise HfpruneError(f"{self.results}: no result of {name} is there, in {self.results}/cells")
        collect(self.study, there, self.results, self.out or self.results)
