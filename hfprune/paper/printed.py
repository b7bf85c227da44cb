"""The published tables as rows of numbers."""

from pathlib import Path
from typing import Any

import pandas as pd

from hfprune.errors import REASON, HfpruneError, explained, reading
from hfprune.rounding import percent

TABLE_FILES = [f"table{number}.csv" for number in range(1, 9)]

LINE = ["table", "model", "ratio", "method", "recovery"]  # identifies a row as printed
PRINTED = [*LINE, "column"]  # identifies a number as printed

DOSE = 43_128 * 1_024  # tokens of the paper's calibration: sequences, and the length of each
MARGIN = "margin"  # a zero-shot metric beside those that the paper prints
AVERAGE = "average"  # the task of a mean over the tasks of a row
AVERAGE_WITHOUT_CROWS = "average without CrowS"
CONFIDENT = "ok"  # `confidence` of a published number without known doubts
NOT_AVERAGED = {8: ("truthfulqa_mc2",)}  # tasks that a published table leaves out of its averages (A15)


def read_tables(folder: Path) -> pd.DataFrame:
    """Return the numbers of all published tables, one per row.

    Columns besides those of the files: `printed`, the number as text; `step`, the unit of the last digit that the
    table prints for this metric; `column`, the task or, if there is none, the metric. Cells without a number are
    left out.
    """
    return pd.concat([_read_table(folder / "tables" / name) for name in TABLE_FILES], ignore_index=True)


def line_name_of(row: Any) -> str:
    """Return model, ratio, method and recovery of a printed row as readers see them."""
    ratio = [] if pd.isna(row.ratio) else [percent(row.ratio)]
    return " ".join([row.model, *ratio, f"{row.method}, {row.recovery}"])


def _read_table(path: Path) -> pd.DataFrame:
    rows = read_rows(path, [*LINE, "task", "metric", "value", "unit"])
    rows["column"] = rows["task"].where(rows["task"] != "", rows["metric"])
    rows["printed"] = rows["value"]
    decimals = rows["printed"].str.partition(".")[2].str.len()
    # By metric, not by cell: 1.0 in a column with 1.24 stands for 1.00.
    rows["step"] = 10.0 ** -decimals.groupby(rows["metric"]).transform("max")
    for column, optional in {"table": False, "ratio": True, "value": True}.items():
        numbers = pd.to_numeric(rows[column], errors="coerce")
        wrong = rows.loc[numbers.isna() & ((rows[column] != "") | (not optional)), column]
        if len(wrong):
            raise HfpruneError(
                f"{path}: column {column}, line {_line(wrong)}: {wrong.iloc[0]!r} is no number"
            )
        rows[column] = numbers
    repeated = rows[rows.duplicated(PRINTED)]
    if len(repeated):
        cell = repeated.iloc[0]
        raise HfpruneError(
            f"{path}: column {cell['column']}, line {_line(repeated)}: repeats that of {line_name_of(cell)}"
        )
    return rows.dropna(subset="value")


def read_rows(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV as texts; an empty cell is "".

    Raises:
        HfpruneError: the file is missing or damaged, or lacks one of these columns.
    """
    with reading(path), explained(f"{path}: not valid CSV: {REASON}", ValueError):
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in columns if column not in rows]
    if missing:
        raise HfpruneError(f"{path}: lacks the column {missing[0]}; it needs {', '.join(columns)}")
    return rows


def _line(rows: pd.DataFrame | pd.Series) -> int:
    return int(rows.index[0]) + 2  # counted from 1, after the header
