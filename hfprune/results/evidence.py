"""Outcomes per item, and bare numbers, of the cells of a study."""

import json
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import with_one_right, with_same_choices
from hfprune.cells import CELL_COLUMNS, DENSE, Cell
from hfprune.cells.items import by_item, guess_or_majority
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.paper.claims import SideOfClaim
from hfprune.results.files import ITEMS, OF_LEVEL, RESULT
from hfprune.results.reader import Results
from hfprune.rounding import percent
from hfprune.statistics.outcomes import Draw, NotMeasuredError, Outcomes
from hfprune.study import cells as study_cells
from hfprune.study.calibration import Calibrated


class NotApplicableError(NotMeasuredError):
    """Says which method could not cut the units that it names."""


class MeasuredSide(NamedTuple):
    """A side of a claim that was measured: method and recovery, the name for readers, and the outcomes."""

    method: str
    recovery: Recovery
    name: str
    data: Any


class Evidence:
    """A study as `collect` wrote it, with its cells and the outcomes per item by which they are compared."""

    def __init__(self, folder: Path) -> None:
        self.results = results = Results(folder)
        self.folder, self.study, self.declared = folder, results.study, results.declared
        if not (folder / ITEMS).exists():
            raise HfpruneError(f"{folder}: no outcomes of items, {ITEMS}; run `hfprune collect` first")
        name = next(iter(results.whole["study"]), folder.name)
        self.cells = [*study_cells.cells(name, self.study)]
        self.models = [*dict.fromkeys(cell.model for cell in self.cells)]
        self.named_outcomes = self.declared.outcomes()
        self._measures = self.study.make_measures()
        self._rows = cache(self._read_rows)
        self._by_item = cache(self._read_by_item)

    def hypothesis_families(self) -> list[list[str]]:
        """Return the first outcomes of measures in families, each of which Holm's method corrects together."""
        families: dict[str, list[str]] = {}
        for outcome, declared in self.declared.first_outcomes().items():
            together = (str(some) for some in self.study.corrected_together if declared.measure in some)
            families.setdefault(next(together, outcome), []).append(outcome)
        return [*families.values()]

    def cells_of(
        self,
        model: str,
        method: str,
        calibrated: Calibrated,
        ratio: float | None,
        recovery: Recovery = Recovery.NONE,
    ) -> list[Cell]:
        """Return the cells of a method, or of the dense model, with every draw of a calibration.

        Without a ratio, the cells of all ratios and recoveries.
        """
        return [
            cell
            for cell in self.cells
            if (cell.model, cell.method) == (model, method)
            and study_cells.compared_within(self.study, calibrated, cell)
            and (ratio is None or (cell.ratio, cell.recovery) == (ratio, recovery))
        ]

    def measured_side(
        self,
        side: SideOfClaim,
        model: str,
        calibrated: Calibrated,
        ratio: float | None,
        read: Callable[[list[Cell]], Any],
    ) -> MeasuredSide:
        """Return the first measured alternative of a side; `read` gets its cells of all draws.

        Raises:
            NotMeasuredError: none was measured; gives the reason of each.
        """
        reasons = []
        kind = NotMeasuredError
        for method, at, recovery in side.alternatives(ratio):
            name = method + ("" if at is None else f" {percent(at)}, {recovery}")
            cells = self.cells_of(model, method, calibrated, at, recovery)
            if not cells:
                reasons.append(f"{name} is not in the study")
            elif (model, method, at) in self.results.not_applicable:
                kind = NotApplicableError
                reasons.append(f"{name} is not applicable{self._why_not(cells[0])}")
            else:
                try:
                    return MeasuredSide(method, recovery, name, read(cells))
                except NotMeasuredError as reason:
                    reasons.append(f"{name}: {reason}")
        raise kind("; ".join(dict.fromkeys(reasons)))

    def _why_not(self, cell: Cell) -> str:
        rows = self.results.records[self.results.records["measure"] == "size"]
        same = [rows[name] == getattr(cell, name) for name in (*OF_LEVEL[:-1], "draw")]
        reason = next(iter(rows.loc[np.logical_and.reduce(same), "not_applicable"]), "")
        return f": {reason}" if reason else ""

    def on_gpus(self, measure: str) -> bool:
        """Tell whether every record of a measure comes from a machine with a GPU."""
        of_measure = self.results.records[self.results.records["measure"] == measure]
        return all(json.loads(hardware).get("cuda") for hardware in of_measure["hardware"])

    def tasks(self, measure: str) -> list[str]:
        """Return the tasks of a measure, or its corpus, as in the column `task`; none if the study lacks it."""
        return [*self._measures[measure].by_task()] if measure in self._measures else []

    def outcomes(
        self, cells: list[Cell], measure: str, metric: str, tasks: list[str] | None = None
    ) -> Outcomes:
        """Return a metric's outcomes per item by draw, for draws on which all tasks were measured.

        Raises:
            NotMeasuredError: there is no such draw, or the metric has no outcomes per item.
        """
        declared = self.declared.find(measure, metric)
        if measure not in self._measures:
            raise NotMeasuredError(f"the study does not measure {measure}")
        if not declared.metric.items:
            raise NotMeasuredError(f"{measure}, {metric} has no outcomes per item")
        per_task = self._measures[measure].per_task
        wanted = (self.tasks(measure) if tasks is None else tasks) if per_task else [measure]
        if declared.metric.one_right:
            wanted = with_one_right(wanted)
        by_draw: dict[Draw | None, dict[str, pd.Series]] = {}
        missing = [measure]
        for cell in cells:
            place = tuple(getattr(cell, name) for name in CELL_COLUMNS[1:])
            missing = [task for task in wanted if (*place, task) not in self._rows(measure)]
            for task in wanted if not missing else ():
                by_item = self._by_item(measure, (*place, task), declared.metric.items)
                for resample, items in by_item.items():
                    by_draw.setdefault(_draw(cell, resample), {})[task] = items
        if not by_draw:
            raise NotMeasuredError(f"{', '.join(missing) or measure} not measured")
        return by_draw

    def constant(self, model: str, measure: str, tasks: list[str]) -> Outcomes:
        """Return `guess_or_majority` of every item of the tasks; empty where items do not hold their choices.

        Tasks whose metric is no accuracy, or in which several choices are right, are left out.
        """
        keys = {key[-1]: key for key in self._rows(measure) if key[0] == model}
        try:
            by_task = {
                task: self._by_item(measure, keys[task], ("constant",))[0] for task in with_one_right(tasks)
            }
        except NotMeasuredError:
            return {}
        return {None: by_task} if by_task else {}

    def _read_rows(self, measure: str) -> dict[tuple[Hashable, ...], pd.DataFrame]:
        rows = self.results.items(measure)
        if len(rows) and not self._measures[measure].per_task:
            rows = rows.assign(task=measure)
        if "loglikelihood" in rows:
            rows = rows.assign(constant=guess_or_majority(rows, with_same_choices()))
        return dict([*rows.groupby([name for name in RESULT if name != "measure"])]) if len(rows) else {}

    def _read_by_item(
        self, measure: str, key: tuple[Hashable, ...], columns: tuple[str, ...]
    ) -> dict[int, pd.Series]:
        rows = self._rows(measure)[key]
        chosen = next((column for column in columns if column in rows and rows[column].notna().any()), None)
        if chosen is None:
            raise NotMeasuredError(f"has no {' or '.join(columns)}")
        if not np.isfinite(rows[chosen].astype(float)).all():
            raise HfpruneError(f"{self.folder / ITEMS}: {chosen} of {measure} is not finite; measure again")
        return {int(n): by_item(part, chosen) for n, part in rows.groupby("resample")}

    def numbers(
        self, cells: list[Cell], ratio: float | None, measure: str, metric: str
    ) -> dict[Draw | None, float]:
        """Return a metric's value by draw; the only key of the dense model is None.

        Without a ratio, the value is that of the method before any cut, such as the cost of scoring.

        Raises:
            NotMeasuredError: there is no such value.
        """
        first, rows = cells[0], self.results.tidy
        rows = rows[(rows["measure"] == measure) & (rows["metric"] == metric)]
        rows = rows[(rows["model"] == first.model) & (rows["method"] == first.method)]
        rows = rows[rows["calibration"] == first.calibration]
        if ratio is None:
            rows = rows[rows["ratio"].isna()]
        else:
            rows = rows[(rows["ratio"] == first.ratio) & (rows["recovery"] == first.recovery)]
            rows = rows[rows["sequences"] == first.sequences]
        if rows.empty:
            raise NotMeasuredError(f"{measure}, {metric} not measured")
        drawn = rows.drop_duplicates("draw").itertuples()
        return {_draw(replace(first, draw=row.draw)): row.value for row in drawn}


def _draw(cell: Cell, resample: int = 0) -> Draw | None:
    if (cell.method, cell.recovery) == (DENSE, Recovery.NONE):
        return None
    return Draw(cell.draw, resample)
