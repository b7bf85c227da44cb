"""Compare every method with entropy, with the dense model and, draw by draw, with itself."""

from typing import ClassVar

from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, OutFolder
from hfprune.study import layout


class Comparison(Stage):
    """The comparison of a study."""

    example: ClassVar = "hfprune comparison --results results/demo"

    results: CollectedFolder
    out: OutFolder = None

    def run(self) -> None:
        """Write the comparison of one study, the spread over draws, and what was lost against the dense model.

        Raises:
            HfpruneError: nothing of the study was measured.
        """
        from hfprune.analysis.against_reference import compare, lost, spreads
        from hfprune.analysis.evidence import Evidence
        from hfprune.analysis.tidy import DIGITS, write_csv

        out, evidence = self.out or self.results, Evidence(self.results)
        write_csv(compare(evidence), out / layout.COMPARISON, DIGITS)
        write_csv(spreads(evidence), out / layout.DRAWS, DIGITS)
        write_csv(lost(evidence), out / layout.LOST, DIGITS)
