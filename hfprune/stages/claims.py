"""Give a verdict on each claim of the paper."""

import sys
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, OutFolder, Shipped
from hfprune.study import layout


class JudgeClaims(Stage):
    """Verdicts on the claims of the paper."""

    example: ClassVar = "hfprune claims --results results/demo"

    results: CollectedFolder
    claims: Shipped = Field(
        default=Path("paper/claims.yaml"),
        description="file of the claims, beside the published tables",
        validate_default=True,
    )
    out: OutFolder = None

    def run(self) -> None:
        """Judge the claims on one study, and count the verdicts.

        Raises:
            HfpruneError: nothing of the study was measured.
        """
        from hfprune.analysis.condition import VERDICTS
        from hfprune.analysis.evidence import Evidence
        from hfprune.analysis.tidy import DIGITS, write_csv
        from hfprune.analysis.verdicts import evaluate
        from hfprune.paper.relations import Paper

        out = self.out or self.results
        table = evaluate(Paper.read(self.claims), Evidence(self.results))
        write_csv(table, out / layout.CLAIMS, DIGITS)
        arithmetic = table["basis"] == "arithmetic"
        found, sure = (table.loc[rows, "verdict"].value_counts() for rows in (~arithmetic, arithmetic))
        counts = ", ".join(f"{found.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
        known = ", ".join(f"{count} {verdict}" for verdict, count in sure.items())
        apart = f" (and by arithmetic alone: {known})" if known else ""
        print(f"claims: {counts}{apart}; see {out / layout.CLAIMS}", file=sys.stderr)
