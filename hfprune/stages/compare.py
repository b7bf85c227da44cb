"""Compare every method with entropy, with the dense model and, draw by draw, with itself."""

from hfprune.settings import Strict, load
from hfprune.stages.fields import CollectedFolder, ResultsFolder, StudyFile
from hfprune.study import layout
from hfprune.study.study import Study

EXAMPLE = "hfprune compare --study config/studies/demo.yaml --results results/demo"


class Config(Strict):
    """Flags of `hfprune compare`."""

    study: StudyFile
    results: ResultsFolder
    out: CollectedFolder = None


def run(config: Config) -> None:
    """Write the comparison of one study, the spread over draws, and what was lost against the dense model.

    Raises:
        HfpruneError: nothing of the study was measured.
    """
    from hfprune.analysis.comparison import compare
    from hfprune.analysis.draws import spreads
    from hfprune.analysis.evidence import Evidence, require_measured
    from hfprune.analysis.lost import lost
    from hfprune.analysis.tidy import DIGITS, write_csv

    out = config.out or config.results
    evidence = Evidence(load(Study, config.study), config.study.stem, config.results, out)
    require_measured(config.results, config.study.stem)
    write_csv(compare(evidence), out / layout.COMPARISON, DIGITS)
    write_csv(spreads(evidence), out / layout.DRAWS, DIGITS)
    write_csv(lost(evidence), out / layout.LOST, DIGITS)
