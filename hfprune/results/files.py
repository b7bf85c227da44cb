"""The files of `collect`: their names and columns, and how they are written and read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hfprune.cells import CELL_COLUMNS, KEY
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file
from hfprune.study import paths

RESULTS, ITEMS, RECORDS, STUDY, NEURONS = paths.TIDY

# The columns of results.csv with their types; `draws`, `sd`, `low` and `high` are empty but for levels.
DTYPES = {
    **dict.fromkeys(KEY, "str"),
    **{"sequences": "int64", "ratio": "float64", "draw": "Int64"},
    **{"value": "float64", "stderr": "float64", "n": "Int64"},
    **{"draws": "Int64", "sd": "float64", "low": "float64", "high": "float64"},
    **dict.fromkeys(("label", "criterion", "metric_label", "unit"), "str"),
    "scale": "float64",
}
# The columns that identify a level of a study, beside measure, metric and task.
OF_LEVEL = [name for name in CELL_COLUMNS if name not in ("study", "draw")]
# The columns that identify a result in items.parquet and records.parquet.
RESULT = [*CELL_COLUMNS[1:], "measure", "task"]
# The columns of neurons.csv: `overlap`, the mean over layers of the Jaccard index of the kept neurons;
# `rank_correlation`, the mean over layers of Spearman's correlation of the scores; `near_cut`, the share of the
# disputed neurons, which only one plan keeps, whose ranks by both scores are near the cut.
OF_PAIR = ["model", "calibration", "sequences", "ratio", "method", "reference", "draw"]
AGREEMENT = ["overlap", "rank_correlation", "near_cut"]
# The columns of answers.csv: `share` and `balanced` of a cell and task (`hfprune.results.answers`).
OF_ANSWER = ["model", "calibration", "sequences", "recovery", "ratio", "method", "task", "draw"]
ANSWER = [*OF_ANSWER, "share", "balanced"]
# How to make the files of `collect` again, and all that is made of them.
AGAIN = "run `hfprune collect` again, or `snakemake -R collect`"
DIGITS = 8  # significant ones of the numbers that claims and comparisons keep


def read_csv(path: Path, *columns: str) -> pd.DataFrame:
    """Read a table that a command wrote, and check that it has these columns.

    Raises:
        HfpruneError: the file is missing or damaged, or lacks a column.
    """
    with readable(path, OSError, ValueError):
        rows = pd.read_csv(path)
    require_columns(rows, path, columns)
    return rows


def require_columns(rows: pd.DataFrame, path: Path, columns: Iterable[str]) -> None:
    """Fail if a table from `path` lacks one of these columns."""
    if lacking := [name for name in columns if name not in rows]:
        raise HfpruneError(
            f"{path}: has no column {lacking[0]!r}: another version or another program wrote it; {AGAIN}"
        )


def write_csv(rows: pd.DataFrame, path: Path, digits: int | None = None) -> None:
    """Write a table as CSV, atomically; numbers have `digits` significant digits, by default all."""
    with atomic_file(path) as temporary:
        rows.to_csv(temporary, index=False, float_format=digits and f"%.{digits}g", lineterminator="\n")


def write_union(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write tables one below the other to a Parquet file, atomically; a column that one lacks is empty there."""
    tables = [pa.Table.from_pandas(rows, preserve_index=False) for rows in parts]
    with explained(f"{path}: two measures have different columns of one name ({REASON})", pa.ArrowException):
        whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata()
    with atomic_file(path) as temporary:
        # Measured numbers shrink by a third with bytes of equal rank together; a dictionary helps all but them.
        split = [field.name for field in whole.schema if pa.types.is_floating(field.type)]
        form = {"use_byte_stream_split": split, "use_dictionary": [*{*whole.column_names} - {*split}]}
        pq.write_table(whole, temporary, compression="zstd", compression_level=19, **form)


def read_union(path: Path, **equal: str) -> pd.DataFrame:
    """Read a Parquet file, or only the rows in which these columns have these values.

    Raises:
        HfpruneError: the file is missing or damaged.
    """
    filters = [(column, "=", value) for column, value in equal.items()] or None
    with readable(path, OSError, ValueError, pa.ArrowException):
        return pq.read_table(path, filters=filters).to_pandas()


@contextmanager
def readable(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds in the block, which reads the file `path`, into one that names the remedy.

    Raises:
        HfpruneError: the file is missing, or the block raised one of these errors.
    """
    remedy = "run `hfprune collect` first"
    if not path.exists():
        raise HfpruneError(f"{path}: is not there; {remedy}")
    with explained(f"{path}: cannot read it ({REASON}); {remedy}", *kinds):
        yield
