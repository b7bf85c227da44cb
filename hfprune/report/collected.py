"""A study's results as tables and figures read them."""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.analysis.answers import ANSWER
from hfprune.analysis.curves import learning_curves, marks
from hfprune.analysis.effect import Effect
from hfprune.analysis.effect_rows import read_effects, table
from hfprune.analysis.kept_neurons import OVERLAP
from hfprune.analysis.tidy import LAYERS, NEURONS, Tidy, read_csv, read_union, require_columns
from hfprune.errors import HfpruneError
from hfprune.paper.relations import Paper
from hfprune.report.style import Look, looks
from hfprune.results import DENSE
from hfprune.study import paths
from hfprune.study.curves import curves

DISTRIBUTIONS = "distributions"  # the measure whose items a figure shows


def _beside(name: str) -> "cached_property[pd.DataFrame]":
    def read(data: "Collected") -> pd.DataFrame:
        path = data.folder / name
        return data.kept(read_csv(path, "model")) if path.exists() else pd.DataFrame()

    return cached_property(read)


class Collected(Tidy):
    """What `collect` and `effects` wrote, each file read when it is first asked for.

    Any of them raises an `HfpruneError` if its file cannot be read; those that are not among the first that
    `collect` writes are empty if they were not kept.
    """

    def __init__(self, folder: Path, paper: Path, only: Mapping[str, Collection[Any]] | None = None) -> None:
        """Read of `model`, `method` and `ratio` `only` these, and the dense model."""
        super().__init__(folder)
        self.paper = paper
        self._out: dict[str, set[Any]] = {}
        for column, wanted in (only or {}).items():
            there = {*self.whole[column].dropna()} - {DENSE, 0.0}
            if lacking := [one for one in wanted if one not in there]:
                known = ", ".join(str(one) for one in sorted(there))
                raise HfpruneError(f"{folder}: no {column} {lacking[0]!r} in this study; it has {known}")
            self._out[column] = there - {*wanted}

    def kept(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of models, methods and ratios that are read; of a pair, both must be."""
        for column, out in self._out.items():
            for name in (column, f"{column}_a", f"{column}_b"):
                rows = rows[~rows[name].isin(out)] if name in rows else rows
        return rows

    claims = _beside(paths.CLAIMS)
    draws = _beside(paths.DRAWS)
    neurons = _beside(NEURONS)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The table of effects; empty, with its columns, if it was not kept."""
        path = self.folder / paths.EFFECTS
        return self.kept(read_effects(path) if path.exists() else table([]))

    def effect(self, row: Mapping[str, Any]) -> Effect:
        """Return the effect of a row of the table of effects."""
        return Effect.of_row(row, self.declared.find(row["measure"], row["metric"]).metric.effect_form)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The commonest answers; empty, with their columns, if they were not kept."""
        path = self.folder / paths.ANSWERS
        return self.kept(read_csv(path, *ANSWER) if path.exists() else pd.DataFrame(columns=ANSWER))

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Overlaps of kept neurons by layer (`OVERLAP`); empty, with these columns, if they were not kept."""
        path = self.folder / LAYERS
        rows = read_union(path) if path.exists() else pd.DataFrame(columns=OVERLAP)
        require_columns(rows, path, OVERLAP, filled="method_a")
        return self.kept(rows)

    @cached_property
    def distributions(self) -> pd.DataFrame:
        """The next-token distributions that a study shows: the items of the measure `distributions`."""
        return self.kept(self.items(self.declared.first(DISTRIBUTIONS)))

    @cached_property
    def marks(self) -> pd.DataFrame:
        """One row per mark of every scoring: see `hfprune.analysis.curves.marks`."""
        return self.kept(marks(self.records, self.study))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per point of every recovery: see `hfprune.analysis.curves.learning_curves`."""
        return self.kept(learning_curves(self.records))

    @cached_property
    def printed(self) -> Paper:
        """The paper's claims and published numbers."""
        return Paper.read(self.paper / "claims.yaml")

    @cached_property
    def published(self) -> pd.DataFrame:
        """`hfprune.paper.relations.Paper.scores` of the study's models, in percent."""
        scores = self.printed.scores()
        return scores[scores["model"].isin(self.results["model"])]

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The look of every method in the results, the overlaps or the published scores."""
        tables = (self.whole["method"], self.overlap["method_a"], self.overlap["method_b"])
        methods = {method for column in tables for method in column} | {
            *curves(self.study.methods, self.study.calibration.sizes)
        }
        return looks({*methods, *self.published["method"]}, self.labels)
