"""A study's results as tables and figures read them."""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

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
    RESULTS_CSV,
    TOKEN_DISTRIBUTIONS,
    applicable,
    read_companion,
    read_labels,
    read_results,
)
from hfprune.errors import HfpruneError
from hfprune.paper.claims import Paper
from hfprune.report.style import Look, looks
from hfprune.results import DENSE
from hfprune.study import layout
from hfprune.study.labels import Label


def _companion(name: str) -> "cached_property[pd.DataFrame]":
    """Return the property of a table beside the tidy one; one that was not kept, or not yet written, is empty."""
    return cached_property(lambda data: data.kept(read_companion(data.folder, name)))


class Collected:
    """The tables that `collect`, `claims` and `compare` wrote, each read when it is first asked for.

    Any of them raises an `HfpruneError` if its file cannot be read; of the tidy table in two forms, the CSV is
    enough.
    """

    def __init__(self, folder: Path, paper: Path, only: Mapping[str, Collection[Any]] | None = None) -> None:
        """Name the results folder, and the folder of the published tables and claims.

        Args:
            folder: of the results.
            paper: of the published tables.
            only: of `model`, `method` and `ratio`, the ones to read; the dense model is among them.

        Raises:
            HfpruneError: the study has not all of `only`.
        """
        self.folder = folder
        self.paper = paper
        self._out: dict[str, set[Any]] = {}
        for column, wanted in (only or {}).items():
            there = {*self.whole[column].dropna()} - {DENSE, 0.0}
            if lacking := [one for one in wanted if one not in there]:
                known = ", ".join(str(one) for one in sorted(there))
                raise HfpruneError(f"{folder}: no {column} {lacking[0]!r} in this study; it has {known}")
            self._out[column] = there - {*wanted}

    def kept(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table but those that nobody asked for."""
        for column, out in self._out.items():
            for name in (column, f"{column}_a", f"{column}_b"):
                rows = rows[~rows[name].isin(out)] if name in rows else rows
        return rows

    overlap = _companion(OVERLAP)
    ranks = _companion(RANKS)
    quantiles = _companion(QUANTILES)
    neurons = _companion(NEURON_SCORES)
    distributions = _companion(TOKEN_DISTRIBUTIONS)
    marks = _companion(CALIBRATION)
    """The agreement of halves during calibration."""
    curves = _companion(LEARNING)
    """The loss on held-out sequences during recovery."""
    claims = _companion(layout.CLAIMS)
    comparison = _companion(layout.COMPARISON)
    draws = _companion(layout.DRAWS)
    lost = _companion(layout.LOST)

    @cached_property
    def whole(self) -> pd.DataFrame:
        """The tidy table with all that was measured."""
        return read_results(self.folder / RESULTS)

    def check_results(self) -> None:
        """Refuse a folder whose tidy table has a header alone.

        Raises:
            HfpruneError: it has.
        """
        if (self.folder / RESULTS_CSV).exists() and self.whole.empty:
            raise HfpruneError(f"{self.folder}: {RESULTS_CSV} holds no result; run `hfprune collect` first")

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """The tidy table."""
        return self.kept(self.whole)

    @cached_property
    def results(self) -> pd.DataFrame:
        """The tidy table without the cells that are not applicable."""
        return applicable(self.tidy)

    @cached_property
    def declared(self) -> Declarations:
        """The declarations of all metrics."""
        return read_declarations(self.folder)

    @cached_property
    def printed(self) -> Paper:
        """All published numbers, by the paper's names of models."""
        return Paper.read(self.paper / "claims.yaml")

    @cached_property
    def published(self) -> pd.DataFrame:
        """`hfprune.paper.claims.Paper.scores` of the study's models, in percent."""
        scores = self.printed.scores()
        return scores[scores["model"].isin(self.results["model"])]

    @cached_property
    def labels(self) -> dict[str, Label]:
        """The study's own labels and colours of methods."""
        return read_labels(self.folder)

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The look of every method of the study, and of those published of its models."""
        tables = (self.whole["method"], self.overlap["method_a"], self.overlap["method_b"])
        methods = {method for column in (*tables, self.quantiles["method"]) for method in column}
        return looks({*methods, *self.published["method"]}, self.labels)
