"""The one reader of a folder of results, which `collect` and `effects` wrote."""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.assets.shipped import shipped
from hfprune.cells import DENSE
from hfprune.errors import HfpruneError
from hfprune.paper.relations import Paper
from hfprune.results.curves import learning_curves
from hfprune.results.declarations import Declarations, declare
from hfprune.results.effect_rows import read_claims, read_effects, table
from hfprune.results.files import (
    AGAIN,
    AGREEMENT,
    ANSWER,
    DTYPES,
    ITEMS,
    NEURONS,
    OF_LEVEL,
    OF_PAIR,
    RECORDS,
    RESULT,
    RESULTS,
    STUDY,
    read_csv,
    read_union,
    readable,
    require_columns,
)
from hfprune.settings import load
from hfprune.study import paths
from hfprune.study.calibration import Calibrated
from hfprune.study.labels import Label, calibration_label, labels
from hfprune.study.study import Study

DISTRIBUTIONS = "distributions"  # the measure whose items a figure shows
PAPER = Path("paper")


class Results:
    """What `collect` and `effects` wrote into a folder; each file is read once, when it is first asked for.

    Each property raises an `HfpruneError` if its file cannot be read. Tables that only some folders keep are empty
    where the file is missing.
    """

    def __init__(
        self, folder: Path, paper: Path = PAPER, only: Mapping[str, Collection[Any]] | None = None
    ) -> None:
        """Take the folder, and the folder of the published numbers.

        The values in `only` of `model`, `method` and `ratio` are read, and the dense model.

        Raises:
            HfpruneError: the study lacks one of these values.
        """
        self.folder, self.paper = folder, shipped(paper)
        self._out: dict[str, set[Any]] = {}
        for column, wanted in (only or {}).items():
            there = {*self.whole[column].dropna()} - {DENSE, 0.0}
            if lacking := [value for value in wanted if value not in there]:
                values = ", ".join(str(value) for value in sorted(there))
                raise HfpruneError(f"{folder}: no {column} {lacking[0]!r} in this study; it has {values}")
            self._out[column] = there - {*wanted}

    @cached_property
    def study(self) -> Study:
        """The study whose numbers these are, from the copy of its file."""
        with readable(self.folder / STUDY):
            return load(Study, self.folder / STUDY)

    @cached_property
    def declared(self) -> Declarations:
        """What the numbers mean: the study's declarations."""
        return declare(self.study)

    @cached_property
    def labels(self) -> dict[str, Label]:
        """Name and colour of every method for readers, by its name in the study."""
        return labels(self.study)

    @cached_property
    def whole(self) -> pd.DataFrame:
        """All of results.csv: values of single draws, and levels, which have no draw.

        Raises:
            HfpruneError: the file is missing or damaged, or lacks a result that records.parquet has.
        """
        path = self.folder / RESULTS
        numbers = [column for column, dtype in DTYPES.items() if dtype != "str"]
        missing = {column: [""] for column in numbers}
        # A count that is no whole number is an error of types.
        with readable(path, OSError, ValueError, TypeError):
            rows = pd.read_csv(path, dtype=DTYPES, keep_default_na=False, na_values=missing)
        require_columns(rows, path, DTYPES)
        if (self.folder / RECORDS).exists():
            self._check_whole(rows)
        return rows[[*DTYPES]]

    def _check_whole(self, rows: pd.DataFrame) -> None:
        """Fail if results.csv lacks a cell's result that records.parquet has, as a truncated file does."""
        # Scorings, which have no ratio, may have no value.
        recorded = self.records[self.records["not_applicable"] == ""].dropna(subset="ratio")
        there, wanted = ({*map(tuple, table[RESULT].astype(str).to_numpy())} for table in (rows, recorded))
        if lacking := sorted(wanted - there):
            what = f"lacks {len(lacking)} results that {RECORDS} has, the first is {' '.join(lacking[0])}"
            raise HfpruneError(f"{self.folder / RESULTS}: {what}; is it truncated? Copy it again, or {AGAIN}")

    def check_results(self) -> None:
        """Require that results.csv has a row.

        Raises:
            HfpruneError: there is none.
        """
        if self.whole.empty:
            raise HfpruneError(f"{self.folder}: {RESULTS} holds no result; run `hfprune collect` first")

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """The values of single draws, including those of cells that are not applicable."""
        rows = self.kept(self.whole)
        return rows[rows["draw"].notna()].astype({"draw": "int64"}).reset_index(drop=True)

    @cached_property
    def not_applicable(self) -> set[tuple[str, str, float]]:
        """Model, method and ratio of the cells whose method could not cut the units that it names.

        `hfprune plan` reports such a cell as the metric `not_applicable` of the measure `size`.
        """
        rows = self.tidy.query("measure == 'size' and metric == 'not_applicable' and value == 1")
        return {*zip(rows["model"], rows["method"], rows["ratio"], strict=True)}

    def _applicable(self, rows: pd.DataFrame) -> pd.DataFrame:
        cells = zip(rows["model"], rows["method"], rows["ratio"], strict=True)
        return rows[[cell not in self.not_applicable for cell in cells]] if self.not_applicable else rows

    @cached_property
    def results(self) -> pd.DataFrame:
        """The values of single draws of applicable cells."""
        return self._applicable(self.tidy)

    @cached_property
    def levels(self) -> pd.DataFrame:
        """The levels over draws of applicable cells, as `hfprune.results.averages.levels` returns them."""
        rows = self.kept(self.whole)
        return self._applicable(rows[rows["draw"].isna()].drop(columns="draw").reset_index(drop=True))

    @cached_property
    def blanks(self) -> pd.DataFrame:
        """The coordinates, without the draw, of the cells that are not applicable, each once."""
        rows = self.tidy.drop(self.results.index)
        return rows[[*OF_LEVEL, "calibrated"]].drop_duplicates()

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per result with its provenance: records.parquet."""
        return read_union(self.folder / RECORDS)

    def items(self, measure: str) -> pd.DataFrame:
        """Return a measure's outcomes, one row per item, without the columns of other measures."""
        rows = read_union(self.folder / ITEMS, measure=measure)
        return rows.dropna(axis="columns", how="all") if len(rows) else rows

    def kept(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows whose models, methods and ratios are read.

        Their column `calibrated` is the calibration for readers, or "" where the study has no other.
        """
        for column, out in self._out.items():
            rows = rows[~rows[column].isin(out)] if column in rows else rows
        return self.with_calibrated(rows)

    def with_calibrated(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return rows with the column `calibrated`, if they have calibrations.

        A method that reads no calibration has that of the methods that read the most, with which it is compared.
        """
        if not {"calibration", "sequences"} <= {*rows}:
            return rows
        study = self.study
        weights_alone = {name for name in study.methods if not study.reads(name)}
        methods = rows["method"] if "method" in rows else [""] * len(rows)
        places = zip(rows["model"], methods, rows["calibration"], rows["sequences"], strict=True)
        calibrated = [
            study.largest(calibration)
            if method in weights_alone and calibration in study.calibrations and model in study.models
            else Calibrated(calibration, sequences)
            for model, method, calibration, sequences in places
        ]
        return rows.assign(calibrated=[calibration_label(study, *at) for at in calibrated])

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The verdicts with the numbers of their effects; empty if not kept."""
        there = (self.folder / paths.CLAIMS).exists() and (self.folder / paths.EFFECTS).exists()
        return self.kept(read_claims(self.folder)) if there else pd.DataFrame()

    @cached_property
    def draws(self) -> pd.DataFrame:
        """How outcomes vary over draws (`hfprune.effects.variation`); empty if not kept."""
        path = self.folder / paths.DRAWS
        return self.kept(read_csv(path, "model")) if path.exists() else pd.DataFrame()

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """Agreement of methods on neurons, with the columns `OF_PAIR` and `AGREEMENT`; empty if not kept."""
        path, columns = self.folder / NEURONS, [*OF_PAIR, *AGREEMENT]
        return self.kept(read_csv(path, *columns) if path.exists() else pd.DataFrame(columns=columns))

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The table of effects; empty, with its columns, if not kept."""
        path = self.folder / paths.EFFECTS
        return self.kept(read_effects(path) if path.exists() else table([]))

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The commonest answers; empty, with their columns, if not kept."""
        path = self.folder / paths.ANSWERS
        return self.kept(read_csv(path, *ANSWER) if path.exists() else pd.DataFrame(columns=ANSWER))

    @cached_property
    def distributions(self) -> pd.DataFrame:
        """The next-token distributions that a study shows: the items of the measure `distributions`."""
        return self.kept(self.items(self.declared.first(DISTRIBUTIONS)))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per point of every recovery: see `hfprune.results.curves.learning_curves`."""
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
