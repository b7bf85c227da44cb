"""Compare every method with entropy, with the dense model and, draw by draw, with itself."""

from hfprune.settings import Strict, load
from hfprune.stages.fields import CollectedFolder, ResultsFolder, StudyFile

EXAMPLE = "hfprune compare --study config/studies/demo.yaml --results results/demo"


class Config(Strict):
    """Flags of `hfprune compare`."""

    study: StudyFile
    results: ResultsFolder
    out: CollectedFolder = None


def run(config: Config) -> None:
    """Write the comparison of one study, the spread over draws, and what was lost against the dense model."""
    from hfprune.report.comparison import write_comparison
    from hfprune.report.draws import write_draws
    from hfprune.report.lost import write_lost
    from hfprune.study.layout import study_name
    from hfprune.study.study import Study

    study, out = load(Study, config.study), config.out or config.results
    write_comparison(study, study_name(config.study), config.results, out)
    write_draws(study, study_name(config.study), config.results, out)
    write_lost(study, study_name(config.study), config.results, out)
