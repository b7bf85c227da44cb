"""Outcomes per item, and bare numbers, of the cells of a study."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hfprune.analysis.declarations import Declaration, declare
from hfprune.analysis.outcomes import Contrast, Draw, NotMeasuredError, Outcomes, contrast
from hfprune.analysis.ratios import Number
from hfprune.analysis.tidy import RESULTS, cells_not_applicable, read_results
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json
from hfprune.paper.claims import Side
from hfprune.results import DENSE, Cell
from hfprune.study import layout
from hfprune.study.study import Study


class NotApplicableError(NotMeasuredError):
    """Says which method could not cut the units that it names."""


class MeasuredSide(NamedTuple):
    """The cell that represents a side: its method, its name for readers, and its measured data."""

    method: str
    name: str
    data: Any


class Evidence:
    """The measurements of a study, each file read once: all that claims and comparisons are judged by."""

    def __init__(self, study: Study, name: str, folder: Path, tidy: Path) -> None:
        """Read the tidy table.

        Args:
            study: which cells there should be.
            name: of the study.
            folder: its results, with the cells, scores and plans.
            tidy: folder that `hfprune.analysis.collect.collect` wrote to.

        Raises:
            HfpruneError: the tidy table cannot be read.
        """
        self.study, self.folder, self.tidy_folder = study, folder, tidy
        self.cells = [*layout.cells(name, study)]
        self.tidy = read_results(tidy / RESULTS)
        self.declared = declare(study)
        self.effects = self.declared.effects()
        self.not_applicable = cells_not_applicable(self.tidy)
        self._measures = study.make_measures()
        self._read_items = functools.cache(_read_items)

    @property
    def models(self) -> list[str]:
        """The models of the study."""
        return [*dict.fromkeys(cell.model for cell in self.cells)]

    def hypothesis_families(self) -> list[list[str]]:
        """Return the effects by family, those that Holm's method corrects together."""
        together = {
            measure: number
            for number, family in enumerate(self.study.corrected_together)
            for measure in family
        }
        found: dict[int | str, list[str]] = {}
        for effect, declared in self.effects.items():
            found.setdefault(together.get(declared.measure, effect), []).append(effect)
        return [*found.values()]

    def cells_of(self, model: str, method: str, ratio: float | None, recovery: str = "none") -> list[Cell]:
        """Return the cells of a method with every seed; without a ratio, those of all ratios and recoveries."""
        return [
            cell
            for cell in self.cells
            if (cell.model, cell.method) == (model, method)
            and (ratio is None or (cell.ratio, cell.recovery) == (ratio, recovery))
        ]

    def by_method(self) -> Iterator[dict[str, list[Cell]]]:
        """Yield, for each model and ratio, the cells without recovery of every method that can be cut there."""
        for model in self.study.models:
            for ratio in self.study.ratios_of(model):
                found = {
                    method: self.cells_of(model, method, ratio)
                    for method in self.study.methods
                    if (model, method, ratio) not in self.not_applicable
                }
                yield {method: cells for method, cells in found.items() if cells}

    def difference(
        self, declared: Declaration, ours: list[Cell], *theirs: list[Cell], tasks: list[str] | None = None
    ) -> Contrast:
        """Return the outcomes of one side, less those of the other if there is one; see `outcomes`.

        Raises:
            NotComparableError: they were not measured on both sides, on the same draws and items.
        """
        measured = declared.measure, declared.metric.name, tasks
        sides = [self.outcomes(cells, *measured) for cells in (ours, *theirs)]
        return contrast([*zip((1.0, -1.0), sides, strict=False)])

    def of_side(
        self, side: Side, model: str, ratio: float | None, read: Callable[[list[Cell]], Any]
    ) -> MeasuredSide:
        """Return the first alternative of a side that `read`, given its cells of all seeds, finds measured.

        Raises:
            NotApplicableError: a method could not cut the units that it names, and no alternative was measured.
            NotMeasuredError: no alternative was measured; the message lists them.
        """
        reasons = []
        kind = NotMeasuredError
        for method, at, recovery in side.alternatives(ratio):
            name = method + ("" if at is None else f" {100 * at:.3g}%, {recovery}")
            cells = self.cells_of(model, method, at, recovery)
            if not cells:
                reasons.append(f"{name} is not in the study")
            elif (model, method, at) in self.not_applicable:
                kind = NotApplicableError
                reasons.append(f"{name} is not applicable{self._why_not(cells[0])}")
            else:
                try:
                    return MeasuredSide(method, name, read(cells))
                except NotMeasuredError as reason:
                    reasons.append(f"{name}: {reason}")
        raise kind("; ".join(dict.fromkeys(reasons)))

    def _why_not(self, cell: Cell) -> str:
        """Return the reason that `hfprune plan` gave, if any."""
        path = self.folder / f"{layout.fill(layout.PLAN, cell)}.json"
        reason = read_json(path).get("not_applicable", "") if path.exists() else ""
        return f": {reason}" if reason else ""

    def tasks(self, measure: str) -> list[str]:
        """Return the tasks of a measure; none if the study does not have the measure."""
        made = self._measures.get(measure)
        return [*made.by_task()] if made else []

    def outcomes(
        self, cells: list[Cell], measure: str, metric: str, tasks: list[str] | None = None
    ) -> Outcomes:
        """Return a metric's outcomes per item by draw, for the seeds of a cell with all tasks measured.

        Args:
            cells: cells of one model, method, ratio and recovery.
            measure: its name in the study.
            metric: its name; `hfprune.analysis.declarations.Declarations` gives the column of the items.
            tasks: tasks to take; by default all tasks of the measure in the study.

        Raises:
            NotMeasuredError: nothing was measured, or the metric has no outcomes per item.
            HfpruneError: an existing result cannot be read.
        """
        declared = self.declared.find(measure, metric)
        if measure not in self._measures:
            raise NotMeasuredError(f"the study does not measure {measure}")
        if not declared.metric.items:
            raise NotMeasuredError(f"{measure}, {metric} has no outcomes per item")
        found: dict[Draw | None, dict[str, pd.Series]] = {}
        missing = [measure]
        for cell in cells:
            files = self._files(cell, measure, self.tasks(measure) if tasks is None else tasks)
            # The JSON file shows that the result is complete.
            missing = [key for key, file in files.items() if not file.with_suffix(".json").exists()]
            for key, file in files.items() if not missing else ():
                for resample, items in self._read_items(file, declared.metric.items).items():
                    found.setdefault(_draw(cell, resample), {})[key] = items
        if not found:
            raise NotMeasuredError(f"{', '.join(missing)} not measured")
        return found

    def _files(self, cell: Cell, measure: str, tasks: list[str]) -> dict[str, Path]:
        """Return the files of the per-item outcomes by task, or by measure if it has only one file."""
        folder = self.folder / layout.fill(layout.CELL, cell)
        if self._measures[measure].per_task:
            return {task: folder / measure / f"{task}.parquet" for task in tasks}
        return {measure: folder / f"{measure}.parquet"}

    def numbers(
        self, cells: list[Cell], ratio: float | None, measure: str, metric: str
    ) -> dict[Draw | None, Number]:
        """Return a bare number by draw.

        Raises:
            NotMeasuredError: it was not measured.
        """
        first, rows = cells[0], self.tidy
        rows = rows[(rows["measure"] == measure) & (rows["metric"] == metric)]
        rows = rows[(rows["model"] == first.model) & (rows["method"] == first.method)]
        if ratio is None:
            rows = rows[rows["ratio"].isna()]
        else:
            rows = rows[(rows["ratio"] == first.ratio) & (rows["recovery"] == first.recovery)]
        if rows.empty:
            raise NotMeasuredError(f"{measure}, {metric} not measured")
        return {
            _draw(first, seed=row.seed): Number(row.value, row.stderr)
            for row in rows.drop_duplicates("seed").itertuples()
        }


def _draw(cell: Cell, resample: int = 0, seed: int | None = None) -> Draw | None:
    """Return the draw of a cell: none for the dense model without recovery, which no draw changes."""
    if (cell.method, cell.recovery) == (DENSE, "none"):
        return None
    return Draw(cell.seed if seed is None else seed, resample)


def require_measured(folder: Path, name: str) -> None:
    """Fail before finished tables are replaced by empty ones.

    Raises:
        HfpruneError: the folder of a study's results has none of its cells.
    """
    if not any((folder / "cells").rglob("*.json")):
        raise HfpruneError(f"{folder}: no result of {name} is there, in {folder}/cells (nothing was changed)")


def _read_items(path: Path, columns: tuple[str, ...]) -> dict[int, pd.Series]:
    """Return the first existing one of these columns by resample, 0 where there are none.

    It is indexed by item, or by document and item if items have documents.
    """
    text = f"{path}: cannot read it ({REASON}); delete it and measure again"
    with explained(text, OSError, ValueError, pa.ArrowException):
        there = pq.read_schema(path).names
        chosen = next((column for column in columns if column in there), None)
        if chosen is None:
            raise NotMeasuredError(f"has no {' or '.join(columns)}")
        index = [name for name in ("document", "item") if name in there]
        number = ["resample"] if "resample" in there else []
        items = pd.read_parquet(path, columns=[*number, *index, chosen])
        if not np.isfinite(items[chosen]).all():
            raise ValueError(f"{chosen} is not finite")
        groups = items.groupby("resample") if number else [(0, items)]
        return {int(n): rows.set_index(index)[chosen].sort_index() for n, rows in groups}
