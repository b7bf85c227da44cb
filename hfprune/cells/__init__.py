"""Results: the numbers of one measurement on one cell of a study as JSON, with per-item outcomes beside."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import GetPydanticSchema, TypeAdapter

from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError, explained
from hfprune.files import atomic_file, read_json, write_json
from hfprune.rounding import rounded_ratio, spelt_ratio
from hfprune.runs import Provenance

if TYPE_CHECKING:
    import pandas as pd

DENSE = "dense"
# The study of a cell that belongs to no study.
BY_HAND = "by-hand"
# The calibration of the dense model, and of a model pruned by hand.
UNCALIBRATED = "none"
# The columns that identify a cell, and one of its values.
CELL_COLUMNS = ["study", "model", "method", "calibration", "sequences", "ratio", "draw", "recovery"]
KEY = [*CELL_COLUMNS, "measure", "task", "metric"]


@dataclass(frozen=True)
class Cell:
    """One (model, method, calibration, sequences, ratio, draw, recovery) of a study.

    The unpruned model is method `dense`, calibration `none`, ratio 0. A result that precedes any cut, such as the
    cost of scoring, has no ratio (None). As text, a cell is
    `study/model/method/calibration/sequences/ratio/draw/recovery`, where the ratio is empty if there is none.
    """

    study: str
    model: str
    method: str
    calibration: str
    """The name of the text in the study's `calibrations`."""
    sequences: int
    """How many of its sequences the scores have read; 0 where they read none."""
    ratio: float | None
    draw: int
    """The number of the sample of the calibration."""
    recovery: Recovery

    def __post_init__(self) -> None:
        object.__setattr__(self, "recovery", Recovery(self.recovery))
        if self.ratio is not None:
            object.__setattr__(self, "ratio", rounded_ratio(self.ratio))

    @property
    def cut_at(self) -> float:
        """The ratio of a cell that has one.

        Raises:
            ValueError: the cell is a scoring, which precedes any cut.
        """
        if self.ratio is None:
            raise ValueError(f"{self}: a scoring has no ratio")
        return self.ratio

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cell that a text spells.

        Raises:
            HfpruneError: the text has another form.
        """
        form = "/".join(CELL_COLUMNS)
        with explained(f"{text!r} is not a cell: give {form}", ValueError):
            study, model, method, calibration, sequences, ratio, draw, recovery = text.split("/")
            at = float(ratio) if ratio else None
            return cls(study, model, method, calibration, int(sequences), at, int(draw), Recovery(recovery))

    def __str__(self) -> str:
        return "/".join(map(str, (asdict(self) | {"ratio": spelt_ratio(self.ratio)}).values()))


@dataclass(frozen=True)
class Value:
    """One number of a result in the metric's own unit, with its standard error and n, of items or repeats."""

    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Result:
    """The numbers of one measurement on one cell; see `write_result`."""

    cell: Cell
    measure: str
    task: str
    values: list[Value]
    # As it was written, since other versions record other things.
    provenance: Annotated[Provenance, GetPydanticSchema(lambda _, schema: schema(dict[str, object]))]
    not_applicable: str = ""


_RESULT = TypeAdapter(Result)


def write_result(
    path: Path,
    cell: Cell,
    measure: str,
    task: str,
    values: list[Value],
    provenance: Provenance,
    items: "pd.DataFrame | None" = None,
    not_applicable: str = "",
) -> None:
    """Write one result atomically to `path`, and `items`, one row per item, to `.parquet` beside it.

    Args:
        path: ends in `.json`.
        cell: what was measured.
        measure: its name in the study; or `cost`, `size` or `recovery`, which scoring, planning and recovery
            report themselves.
        task: the lm-eval task or the corpus; empty where there is none.
        values: the numbers.
        provenance: from `hfprune.provenance.provenance`.
        items: column `item` (the index of the document, block or repeat) and one column per metric.
        not_applicable: why the method cannot prune as described at this ratio, else "".

    Raises:
        HfpruneError: a value is not finite.
    """
    for value in values:
        if not math.isfinite(value.value):
            raise HfpruneError(
                f"{path}: {value.metric} is {value.value}; nothing was written, try another dtype"
            )
    if items is not None:
        path.unlink(missing_ok=True)  # its items are about to be replaced
        with atomic_file(path.with_suffix(".parquet")) as temporary:
            items.to_parquet(temporary, index=False)
    # The JSON comes last, since it marks the result as finished.
    write_json(
        path,
        {
            "cell": asdict(cell),
            "measure": measure,
            "task": task,
            "values": [asdict(value) for value in values],
            "provenance": provenance,
        }
        | ({"not_applicable": not_applicable} if not_applicable else {}),
    )


def values_table(results: list[Result]) -> str:
    """Return the numbers of results as tabulate's table: one row per value."""
    from tabulate import tabulate

    rows = [
        [result.task, value.metric, *map(_shown, (value.value, value.stderr, value.n))]
        for result in results
        for value in result.values
    ]
    headers = ["task", "metric", "value", "standard error", "n"]
    # Only columns that say something.
    used = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    table = [[row[i] for i in used] for row in rows]
    sides = ["left" if i < 2 else "right" for i in used]
    return tabulate(table, [headers[i] for i in used], disable_numparse=True, colalign=sides)


def _shown(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:.4g}"


def read_result(path: Path) -> Result:
    """Read a result that `write_result` wrote.

    Raises:
        ValueError: the file is truncated, or holds something else.
    """
    return _RESULT.validate_python(read_json(path))
