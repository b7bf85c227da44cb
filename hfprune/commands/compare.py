"""Compare every method with entropy, neuron by neuron and item by item."""

from hfprune.commands.flags import CollectedFolder, ResultsFolder, StudyFile
from hfprune.settings import Strict, load

EXAMPLE = "hfprune compare --study config/studies/demo.yaml --results results/demo"


class Config(Strict):
    """Flags of `hfprune compare`."""

    study: StudyFile
    results: ResultsFolder
    out: CollectedFolder = None


def run(config: Config) -> None:
    """Write the comparison of one study."""
    from hfprune.report.comparison import write_comparison
    from hfprune.study.layout import study_name
    from hfprune.study.study import Study

    study = load(Study, config.study)
    write_comparison(study, study_name(config.study), config.results, config.out or config.results)
