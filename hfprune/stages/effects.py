"""Compare the methods of a study with each other and with the dense model, and judge the claims of the paper."""

import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, OutFolder, Shipped
from hfprune.study import paths


class MakeEffects(Stage):
    """Effects of a study, and verdicts on the claims of the paper."""

    example: ClassVar = "hfprune effects --results results/demo"

    results: CollectedFolder
    claims: Shipped = Field(
        default=Path("paper/claims.yaml"),
        description="file of the claims; the published tables lie beside it",
        validate_default=True,
    )
    out: OutFolder = None

    def run(self) -> None:
        """Write effects, verdicts, the variation over draws and the commonest answers; count the verdicts.

        Raises:
            HfpruneError: nothing of the study was measured.
        """
        from hfprune.effects.analysed import analysed
        from hfprune.paper.relations import Paper
        from hfprune.results.evidence import Evidence
        from hfprune.results.files import DIGITS, write_csv

        out, tables = self.out or self.results, analysed(Evidence(self.results), Paper.read(self.claims))
        for name, rows in tables.items():
            write_csv(rows, out / name, DIGITS)
        verdicts = Counter(tables[paths.CLAIMS]["verdict"]).most_common()
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts)
        print(f"claims: {counts}; see {out / paths.CLAIMS}", file=sys.stderr)
