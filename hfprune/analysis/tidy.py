"""The files of `collect`: their names and columns, and how they are written and read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hfprune.analysis.declarations import Declarations, declare
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file
from hfprune.results import CELL_COLUMNS, KEY
from hfprune.settings import load
from hfprune.study import paths
from hfprune.study.labels import Label, labels
from hfprune.study.study import Study

RESULTS, ITEMS, RECORDS, STUDY, NEURONS, LAYERS = paths.TIDY

# Those of results.csv; the number of seeds, the spread over them and the interval are those of a level.
DTYPES = {
    **dict.fromkeys(KEY, "str"),
    **{"ratio": "float64", "seed": "Int64", "value": "float64", "stderr": "float64", "n": "Int64"},
    **{"seeds": "Int64", "sd": "float64", "low": "float64", "high": "float64"},
    **dict.fromkeys(("label", "criterion", "metric_label", "unit"), "str"),
    "scale": "float64",
}
# The columns of the results of a cell in items.parquet and records.parquet.
RESULT = [*CELL_COLUMNS[1:], "measure", "task"]
# What makes the files of `collect` anew, and all that is made of them.
AGAIN = "run `hfprune collect` again, or `snakemake -R collect`"
DIGITS = 8  # significant ones of the numbers that claims and comparisons keep


class Tidy:
    """A study as `collect` wrote it; each file is read once, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        """All of results.csv: values of single seeds, and levels, which have no seed.

        An `HfpruneError` says that it is missing, damaged, or lacks a result that records.parquet has.
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
        # Scoring, which has no ratio, may have no value.
        made = self.records[self.records["not_applicable"] == ""].dropna(subset="ratio")
        there, wanted = ({*map(tuple, table[RESULT].astype(str).to_numpy())} for table in (rows, made))
        if lacking := sorted(wanted - there):
            what = f"lacks {len(lacking)} results that {RECORDS} has, the first is {' '.join(lacking[0])}"
            raise HfpruneError(f"{self.folder / RESULTS}: {what}; is it truncated? Copy it again, or {AGAIN}")

    def check_results(self) -> None:
        """Fail if results.csv has no row.

        Raises:
            HfpruneError: it has none.
        """
        if self.whole.empty:
            raise HfpruneError(f"{self.folder}: {RESULTS} holds no result; run `hfprune collect` first")

    def kept(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that are read; a subclass may leave some out."""
        return rows

    @cached_property
    def tidy(self) -> pd.DataFrame:
        """The values of single seeds, those of cells that are not applicable included."""
        rows = self.kept(self.whole)
        return rows[rows["seed"].notna()].astype({"seed": "int64"}).reset_index(drop=True)

    @cached_property
    def not_applicable(self) -> set[tuple[str, str, float]]:
        """Model, method and ratio of the cells whose method could not cut the units that it names.

        `hfprune plan` reports such a cell as the metric `not_applicable` of the measure `size`.
        """
        said = self.tidy.query("measure == 'size' and metric == 'not_applicable' and value == 1")
        return {*zip(said["model"], said["method"], said["ratio"], strict=True)}

    def _applicable(self, rows: pd.DataFrame) -> pd.DataFrame:
        cells = zip(rows["model"], rows["method"], rows["ratio"], strict=True)
        return rows[[cell not in self.not_applicable for cell in cells]] if self.not_applicable else rows

    @cached_property
    def results(self) -> pd.DataFrame:
        """The values of single seeds of applicable cells."""
        return self._applicable(self.tidy)

    @cached_property
    def levels(self) -> pd.DataFrame:
        """The levels over seeds of applicable cells, as `hfprune.analysis.averages.levels` returns them."""
        rows = self.kept(self.whole)
        return self._applicable(rows[rows["seed"].isna()].drop(columns="seed").reset_index(drop=True))

    @cached_property
    def blanks(self) -> pd.DataFrame:
        """Model, method, ratio and recovery of the cells that are not applicable, each once."""
        rows = self.tidy.drop(self.results.index)
        return rows[["model", "method", "ratio", "recovery"]].drop_duplicates()

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per result with its provenance: records.parquet."""
        return read_union(self.folder / RECORDS)

    def items(self, measure: str) -> pd.DataFrame:
        """Return a measure's outcomes, a row per item, without the columns of other measures."""
        rows = read_union(self.folder / ITEMS, measure=measure)
        return rows.dropna(axis="columns", how="all") if len(rows) else rows


def read_csv(path: Path, *columns: str) -> pd.DataFrame:
    """Read a table that a command wrote, and check that it has these columns.

    Raises:
        HfpruneError: it is missing or damaged, or lacks one of them.
    """
    with readable(path, OSError, ValueError):
        rows = pd.read_csv(path)
    require_columns(rows, path, columns)
    return rows


def require_columns(rows: pd.DataFrame, path: Path, columns: Iterable[str], filled: str = "") -> None:
    """Fail if a table from `path` lacks one of these columns, or a value of the one that is `filled`."""
    if lacking := [name for name in columns if name not in rows or (name == filled and rows[name].hasnans)]:
        raise HfpruneError(
            f"{path}: has no column {lacking[0]!r}: another version or another program wrote it; {AGAIN}"
        )


def write_csv(rows: pd.DataFrame, path: Path, digits: int | None = None) -> None:
    """Write a table as CSV, atomically; numbers have so many significant digits, by default all."""
    with atomic_file(path) as temporary:
        rows.to_csv(temporary, index=False, float_format=digits and f"%.{digits}g", lineterminator="\n")


def write_union(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write tables below each other to a Parquet file, atomically; a column is empty where a table lacks it."""
    tables = [pa.Table.from_pandas(rows, preserve_index=False) for rows in parts]
    with explained(f"{path}: two measures have different columns of one name ({REASON})", pa.ArrowException):
        whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata()
    with atomic_file(path) as temporary:
        # Measured numbers shrink by a third with bytes of equal rank together; a dictionary helps all but them.
        split = [field.name for field in whole.schema if pa.types.is_floating(field.type)]
        form = {"use_byte_stream_split": split, "use_dictionary": [*{*whole.column_names} - {*split}]}
        pq.write_table(whole, temporary, compression="zstd", compression_level=19, **form)


def read_union(path: Path, **equal: str) -> pd.DataFrame:
    """Read a Parquet file, or of it the rows in which these columns have these values.

    Raises:
        HfpruneError: it is missing or damaged.
    """
    filters = [(column, "=", value) for column, value in equal.items()] or None
    with readable(path, OSError, ValueError, pa.ArrowException):
        return pq.read_table(path, filters=filters).to_pandas()


@contextmanager
def readable(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Let errors of these kinds in the block, which reads the file `path`, name it and the remedy.

    Raises:
        HfpruneError: the file is missing, or the block failed so.
    """
    remedy = "run `hfprune collect` first"
    if not path.exists():
        raise HfpruneError(f"{path}: is not there; {remedy}")
    with explained(f"{path}: cannot read it ({REASON}); {remedy}", *kinds):
        yield
