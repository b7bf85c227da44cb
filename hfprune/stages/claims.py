"""Give a verdict on each claim of the paper, as CSV, Markdown and LaTeX."""

import sys
from pathlib import Path

from pydantic import Field

from hfprune.settings import Strict, load
from hfprune.stages.fields import CollectedFolder, ResultsFolder, Shipped, StudyFile

EXAMPLE = "hfprune claims --study config/studies/demo.yaml --results results/demo"


class Config(Strict):
    """Flags of `hfprune claims`."""

    study: StudyFile
    results: ResultsFolder
    claims: Shipped = Field(
        default=Path("paper/claims.yaml"),
        description="file of the claims, beside the published tables",
        validate_default=True,
    )
    out: CollectedFolder = None


def run(config: Config) -> None:
    """Judge the claims on one study, and count the verdicts."""
    from hfprune.analysis.condition import VERDICTS
    from hfprune.paper.claims import Paper
    from hfprune.report.claims import write_claims
    from hfprune.study.layout import study_name
    from hfprune.study.study import Study

    study, paper = load(Study, config.study), Paper.read(config.claims)
    out = config.out or config.results
    table = write_claims(paper, study, study_name(config.study), config.results, out)
    arithmetic = table["basis"] == "arithmetic"
    found, sure = (table.loc[rows, "verdict"].value_counts() for rows in (~arithmetic, arithmetic))
    counts = ", ".join(f"{found.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    known = ", ".join(f"{count} {verdict}" for verdict, count in sure.items())
    apart = f" (and by arithmetic alone: {known})" if known else ""
    print(f"claims: {counts}{apart}; see {out / 'claims.md'}", file=sys.stderr)
