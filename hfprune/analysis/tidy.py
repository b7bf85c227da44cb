"""The tidy table and its companions: names, columns, and how they are read and written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from hfprune.errors import REASON, explained
from hfprune.files import atomic_file
from hfprune.study import layout
from hfprune.study.labels import Label
from hfprune.study.method import hexadecimal

RESULTS, RESULTS_CSV, METRICS_CSV, OVERLAP, RANKS, *_OTHERS = layout.TIDY
QUANTILES, NEURON_SCORES, TOKEN_DISTRIBUTIONS, CALIBRATION, LEARNING, LABELS, PROVENANCE = _OTHERS

CELL_COLUMNS = ["study", "model", "method", "ratio", "seed", "recovery"]
KEY = [*CELL_COLUMNS, "measure", "task", "metric"]
DTYPES = {
    **dict.fromkeys(KEY, "str"),
    **{"ratio": "float64", "seed": "int64", "value": "float64", "stderr": "float64", "n": "Int64"},
}
DIGITS = 8  # significant ones of the numbers that claims and comparisons keep
# The columns of the companions, as far as they are the same for every study.
COMPANION_COLUMNS = {
    OVERLAP: ["model", "seed", "ratio", "layer", "method_a", "method_b", "jaccard", "expected"],
    RANKS: ["model", "seed", "layer", "method_a", "method_b", "spearman", "neurons"],
    QUANTILES: ["model", "seed", "method", "layer", "quantile", "score"],
    NEURON_SCORES: ["model", "method", "layer", "neuron", "score"],
    TOKEN_DISTRIBUTIONS: ["model", "level"],
    CALIBRATION: [
        *("model", "method", "seed", "criterion", "units", "corpus", "allocation"),
        *("sequences", "agreement", "successive"),
    ],
    LEARNING: [
        *("model", "method", "ratio", "seed", "recovery", "step", "tokens", "loss", "stderr", "n"),
        *("doubling", "doubling_low", "doubling_high"),
    ],
}


def read_results(path: Path) -> pd.DataFrame:
    """Read the tidy table: `path`, or the CSV beside it if only that was kept.

    Raises:
        HfpruneError: neither exists, or it cannot be read.
    """
    csv = path.with_name(RESULTS_CSV)
    if path.exists() or not csv.exists():
        return read_collected(path)
    text = read_collected(csv, text=True)
    with readable(csv, ValueError, KeyError):
        numbers = [column for column, dtype in DTYPES.items() if dtype != "str"]
        return text.replace(dict.fromkeys(numbers, ""), np.nan).astype(DTYPES)


def read_companion(folder: Path, name: str) -> pd.DataFrame:
    """Read a companion of the tidy table; one that was not kept is empty.

    Raises:
        HfpruneError: it cannot be read.
    """
    path = folder / name
    return read_collected(path) if path.exists() else pd.DataFrame(columns=COMPANION_COLUMNS.get(name))


def read_labels(folder: Path) -> dict[str, Label]:
    """Read the labels and colours of the study's methods.

    Raises:
        HfpruneError: the file cannot be read.
    """
    rows = read_collected(folder / LABELS, text=True)
    with readable(folder / LABELS, AttributeError, ValueError):
        return {
            row.method: Label(row.label, row.colour and hexadecimal(row.colour))
            for row in rows.itertuples(index=False)
        }


def read_collected(path: Path, text: bool = False) -> pd.DataFrame:
    """Read one of the tables that `hfprune.analysis.collect.collect` wrote; a CSV also with every cell as text.

    Raises:
        HfpruneError: it does not exist or cannot be read.
    """
    with readable(path, OSError, ValueError):
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype="str", keep_default_na=False) if text else pd.read_csv(path)


def write_csv(rows: pd.DataFrame, path: Path, digits: int | None = None) -> None:
    """Write a table atomically; numbers with all their digits, or rounded to so many significant ones."""
    with atomic_file(path) as temporary:
        rows.to_csv(temporary, index=False, float_format=digits and f"%.{digits}g", lineterminator="\n")


@contextmanager
def readable(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Explain errors of these kinds about a file that `collect` should have written."""
    remedy = "run `hfprune collect` first"
    missing = explained(f"{path}: is not there; {remedy}", FileNotFoundError)
    with explained(f"{path}: cannot read it ({REASON}); {remedy}", *kinds), missing:
        yield


def cells_not_applicable(results: pd.DataFrame) -> set[tuple[str, str, float]]:
    """Return model, method and ratio of the cells whose method could not cut the units that it names.

    `hfprune plan` reports such a cell as the metric `not_applicable` of the measure `size`.
    """
    said = results[(results["measure"] == "size") & (results["metric"] == "not_applicable")]
    said = said[said["value"] == 1]
    return {*zip(said["model"], said["method"], said["ratio"], strict=True)}


def applicable(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tidy table without the cells of `cells_not_applicable`."""
    left_out = cells_not_applicable(results)
    cells = zip(results["model"], results["method"], results["ratio"], strict=True)
    return results[[cell not in left_out for cell in cells]] if left_out else results


def blank_cells(results: pd.DataFrame) -> pd.DataFrame:
    """Return model, method, ratio and recovery of the cells of `cells_not_applicable`."""
    rows = results.drop(applicable(results).index)
    return rows[["model", "method", "ratio", "recovery"]].drop_duplicates()
