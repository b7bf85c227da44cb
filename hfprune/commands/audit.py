"""Find defects in the paper's published tables from their numbers alone."""

from pathlib import Path

from hfprune.settings import Strict
from hfprune.stages.fields import PaperFolder

EXAMPLE = "hfprune audit"


class Config(Strict):
    """Flags of `hfprune audit`."""

    paper: PaperFolder = Path("paper")


def run(config: Config) -> None:
    """Print the defects."""
    from hfprune.paper.audit import audit, report

    print(report(audit(config.paper)))
