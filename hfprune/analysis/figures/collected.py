"""What the figures are drawn from."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hfprune.analysis.collect import (
    CALIBRATION,
    CLAIMS,
    COMPARISON,
    DISTRIBUTIONS,
    NEURONS,
    OVERLAP,
    QUANTILES,
    RANKS,
    RESULTS,
    read_collected,
)
from hfprune.analysis.published import read_published
from hfprune.analysis.style import Look, looks


@dataclass(frozen=True)
class Collected:
    """What the figures draw: what `collect`, `claims` and `compare` wrote, and the look of every method."""

    results: pd.DataFrame
    overlap: pd.DataFrame
    ranks: pd.DataFrame
    quantiles: pd.DataFrame
    neurons: pd.DataFrame
    distributions: pd.DataFrame
    published: pd.DataFrame
    """`hfprune.analysis.published.Published.scores` of the study's models, in percent."""
    looks: dict[str, Look]
    claims: pd.DataFrame
    comparison: pd.DataFrame
    marks: pd.DataFrame
    """`calibration.csv`: how far halves agreed on the way."""

    @classmethod
    def read(cls, folder: Path, paper: Path) -> "Collected":
        """Read the folder that `collect` wrote, and `paper/`."""
        names = (RESULTS, OVERLAP, RANKS, QUANTILES, NEURONS, DISTRIBUTIONS, CALIBRATION)
        results, overlap, ranks, quantiles, neurons, distributions, marks = (
            read_collected(folder / name) for name in names
        )
        scores = read_published(paper).scores()
        scores = scores[scores["model"].isin(results["model"])]
        methods = {*results["method"], *overlap["method_a"], *overlap["method_b"], *quantiles["method"]}
        methods |= {*scores["method"]}
        # The two that `collect` does not write; a study can be drawn before they are made.
        claims, comparison = (
            read_collected(folder / name) if (folder / name).exists() else pd.DataFrame()
            for name in (CLAIMS, COMPARISON)
        )
        shown = looks(methods)
        return cls(
            results,
            overlap,
            ranks,
            quantiles,
            neurons,
            distributions,
            scores,
            shown,
            claims,
            comparison,
            marks,
        )
