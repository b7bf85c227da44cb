"""Gather a study's results into tidy tables."""

from pathlib import Path

from pydantic import Field

from hfprune.errors import HfpruneError
from hfprune.settings import Strict, load
from hfprune.stages.fields import ResultsFolder, StudyFile
from hfprune.study.labels import labels
from hfprune.study.layout import plan_files, result_files, score_files
from hfprune.study.study import Study

EXAMPLE = "hfprune collect --study config/studies/demo.yaml --results results/demo"


class Config(Strict):
    """Flags of `hfprune collect`."""

    study: StudyFile
    results: ResultsFolder
    partial: bool = Field(
        default=False, description="collect the results that exist; by default a missing one is an error"
    )
    out: Path | None = Field(default=None, description="folder of the tidy tables (the results folder)")


def run(config: Config) -> None:
    """Gather the results of one study into tidy tables.

    Raises:
        HfpruneError: results are missing, and `partial` is false; or there is none at all.
    """
    from hfprune.analysis.collect import collect
    from hfprune.analysis.declarations import declare

    study, name = load(Study, config.study), config.study.stem

    def present(files: list[str]) -> list[Path]:
        paths = [config.results / file for file in files]
        missing = [path for path in paths if not path.exists()]
        if missing and not config.partial:
            raise HfpruneError(
                f"{len(missing)} results are missing, the first is {missing[0]}; or use --partial"
            )
        return [path for path in paths if path.exists()]

    results, scores, plans = (
        present(files(name, study)) for files in (result_files, score_files, plan_files)
    )
    if not results:
        raise HfpruneError(f"{config.results}: no result of {name} is there, in {config.results}/cells")
    external = [config.results / file for file in plan_files(name, study, baselines=True)]
    plans += [path for path in external if path.exists()]
    collect(results, scores, plans, config.out or config.results, declare(study), labels(study))
