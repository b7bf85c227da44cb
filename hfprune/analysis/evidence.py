"""What a study measured on the two sides of a claim: outcomes per item, or bare numbers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hfprune import layout
from hfprune.analysis.averages import primary_metric
from hfprune.analysis.claims import Side
from hfprune.analysis.collect import RESULTS, read_collected
from hfprune.analysis.statistics import NotComparableError, Outcomes
from hfprune.errors import HfpruneError
from hfprune.results import Cell
from hfprune.study import Study


class Measured(NamedTuple):
    """What stands for a side: which method, how a reader would call the cell, and what was measured on it."""

    method: str
    name: str
    data: Any


class Evidence:
    """What a study measured, by cell: `folder` has the cells, `tidy` is where `collect` wrote to."""

    def __init__(self, study: Study, name: str, folder: Path, tidy: Path) -> None:
        self.cells = [*layout.cells(name, study)]
        self.measured_tasks = study.measures.zeroshot.tasks if study.measures.zeroshot else []
        self.tidy = read_collected(tidy / RESULTS)
        self._folder = folder
        self._read_items = functools.cache(_read_items)

    @property
    def models(self) -> list[str]:
        """The models of the study."""
        return [*dict.fromkeys(cell.model for cell in self.cells)]

    def of_side(
        self, side: Side, model: str, ratio: float | None, read: Callable[[list[Cell]], Any]
    ) -> Measured:
        """Return the first alternative of a side that `read`, given its cells of all seeds, finds measured.

        Raises:
            NotComparableError: none was measured; says which were looked for.
        """
        reasons = []
        for method, at, recovery in side.alternatives(ratio):
            name = method + ("" if at is None else f" {100 * at:.3g}%, {recovery}")
            cells = [
                cell
                for cell in self.cells
                if (cell.model, cell.method) == (model, method)
                and (at is None or (cell.ratio, cell.recovery) == (at, recovery))
            ]
            if not cells:
                reasons.append(f"{name} is not in the study")
                continue
            try:
                return Measured(method, name, read(cells))
            except NotComparableError as reason:
                reasons.append(f"{name}: {reason}")
        raise NotComparableError("; ".join(dict.fromkeys(reasons)))

    def outcomes(self, cells: list[Cell], measure: str, metric: str, tasks: list[str]) -> Outcomes:
        """Return the outcomes per item of those seeds of a cell that have all tasks (zero-shot only) measured."""
        found = {}
        for cell in cells:
            folder = self._folder / layout.fill(layout.CELL, cell)
            files = {task: folder / f"zeroshot/{task}.parquet" for task in tasks} or {
                measure: folder / f"{measure}.parquet"
            }
            # The JSON says that a result is there.
            missing = [key for key, file in files.items() if not file.with_suffix(".json").exists()]
            if not missing:
                wanted = None if tasks else metric
                found[cell.seed] = {key: self._read_items(file, wanted) for key, file in files.items()}
        if not found:
            raise NotComparableError(f"{', '.join(missing)} not measured")
        return found

    def numbers(self, cells: list[Cell], ratio: float | None, measure: str, metric: str) -> pd.DataFrame:
        """Return `value`, `stderr` and `n` of a bare number, one row per seed."""
        rows = self.tidy[(self.tidy["measure"] == measure) & (self.tidy["metric"] == metric)]
        first = cells[0]
        rows = rows[(rows["model"] == first.model) & (rows["method"] == first.method)]
        if ratio is None:
            rows = rows[rows["ratio"].isna()]
        else:
            rows = rows[(rows["ratio"] == first.ratio) & (rows["recovery"] == first.recovery)]
        if rows.empty:
            raise NotComparableError(f"{measure}, {metric} not measured")
        return rows.drop_duplicates("seed").set_index("seed")[["value", "stderr", "n"]].astype(float)


def _read_items(path: Path, metric: str | None) -> pd.Series:
    """Return a metric, by default the primary one, by item, or by document and item where items have one."""
    try:
        columns = pq.read_schema(path).names
        chosen = metric or primary_metric(columns)
        if chosen not in columns:
            raise NotComparableError(f"has no {chosen}")
        index = [name for name in ("document", "item") if name in columns]
        return pd.read_parquet(path, columns=[*index, chosen]).set_index(index)[chosen].sort_index()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise HfpruneError(f"{path}: cannot read it ({reason}); delete it and measure again") from error
