"""The data of the figures."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hfprune.analysis.declarations import Declarations, read_declarations
from hfprune.analysis.tidy import (
    CALIBRATION,
    LEARNING,
    NEURON_SCORES,
    OVERLAP,
    QUANTILES,
    RANKS,
    RESULTS,
    TOKEN_DISTRIBUTIONS,
    applicable,
    read_collected,
    read_companion,
    read_labels,
    read_results,
)
from hfprune.paper.published import read_published
from hfprune.report.style import Look, looks
from hfprune.study import layout


@dataclass(frozen=True)
class Collected:
    """The tables that `collect`, `claims` and `compare` wrote, and the look of every method."""

    results: pd.DataFrame
    """The tidy table, without the cells that are not applicable."""
    declared: Declarations
    overlap: pd.DataFrame
    ranks: pd.DataFrame
    quantiles: pd.DataFrame
    neurons: pd.DataFrame
    distributions: pd.DataFrame
    published: pd.DataFrame
    """`hfprune.paper.published.Published.scores` of the study's models, in percent."""
    looks: dict[str, Look]
    claims: pd.DataFrame
    comparison: pd.DataFrame
    marks: pd.DataFrame
    """`calibration.csv`: the agreement of halves during calibration."""
    curves: pd.DataFrame
    """`learning.csv`: the loss on held-out sequences during recovery."""

    @classmethod
    def read(cls, folder: Path, paper: Path) -> "Collected":
        """Read the folder that `collect` wrote, and `paper/`."""
        results = applicable(read_results(folder / RESULTS))
        overlap, ranks, quantiles, neurons, distributions, marks, curves = (
            read_companion(folder, name)
            for name in (
                *(OVERLAP, RANKS, QUANTILES, NEURON_SCORES, TOKEN_DISTRIBUTIONS),
                *(CALIBRATION, LEARNING),
            )
        )
        scores = read_published(paper).scores()
        scores = scores[scores["model"].isin(results["model"])]
        methods = {*results["method"], *overlap["method_a"], *overlap["method_b"], *quantiles["method"]}
        methods |= {*scores["method"]}
        # `collect` does not write these two; a study can be drawn before they exist.
        claims, comparison = (
            read_collected(folder / name) if (folder / name).exists() else pd.DataFrame()
            for name in (layout.CLAIMS, layout.COMPARISON)
        )
        return cls(
            results=results,
            declared=read_declarations(folder),
            overlap=overlap,
            ranks=ranks,
            quantiles=quantiles,
            neurons=neurons,
            distributions=distributions,
            published=scores,
            looks=looks(methods, read_labels(folder)),
            claims=claims,
            comparison=comparison,
            marks=marks,
            curves=curves,
        )
