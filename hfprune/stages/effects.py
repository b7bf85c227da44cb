"""Compare the methods of a study with each other and with the dense model, and judge the claims of the paper."""

import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from hfprune.stages import Stage
from hfprune.stages.fields import CollectedFolder, OutFolder, Shipped
from hfprune.study import paths
from hfprune.study.added_effects import ADDED


class MakeEffects(Stage):
    """Effects of a study, and verdicts on the claims of the paper."""

    example: ClassVar = "hfprune effects --results results/demo"

    results: CollectedFolder
    claims: Shipped = Field(
        default=Path("paper/claims.yaml"),
        description="file of the claims, beside the published tables",
        validate_default=True,
    )
    out: OutFolder = None

    def run(self) -> None:
        """Write effects, verdicts, the variation over draws and the commonest answers; count the verdicts.

        Raises:
            HfpruneError: nothing of the study was measured.
        """
        from hfprune.effects.slopes import slopes
        from hfprune.effects.standard import effects
        from hfprune.effects.variation import over_draws
        from hfprune.effects.verdicts import evaluate
        from hfprune.paper.relations import Paper
        from hfprune.results.answers import answers
        from hfprune.results.effect_rows import table
        from hfprune.results.evidence import Evidence
        from hfprune.results.files import DIGITS, write_csv

        out, evidence = self.out or self.results, Evidence(self.results)
        claims, about_claims = evaluate(Paper.read(self.claims), evidence)
        rows = [*effects(evidence), *slopes(evidence), *about_claims]
        for name in evidence.study.effects:
            rows += ADDED.load(name)().rows(evidence)
        write_csv(table(rows), out / paths.EFFECTS, DIGITS)
        write_csv(claims, out / paths.CLAIMS, DIGITS)
        write_csv(over_draws(evidence), out / paths.DRAWS, DIGITS)
        write_csv(answers(evidence.results), out / paths.ANSWERS, DIGITS)
        counts = ", ".join(f"{count} {said}" for said, count in Counter(claims["verdict"]).most_common())
        print(f"claims: {counts}; see {out / paths.CLAIMS}", file=sys.stderr)
