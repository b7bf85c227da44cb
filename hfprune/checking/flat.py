"""Any file of a study's tables as a table of texts and numbers, each of which can be compared."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hfprune.cells import KEY
from hfprune.results.files import RECORDS, read_union, readable
from hfprune.results.gathering import PARTS
from hfprune.settings import load
from hfprune.study.study import Study

# The columns that identify a row of a table, in any table that has them.
NAMES = (
    *KEY,
    *("question", "against", "against_recovery", "outcome", "claim", "kind", "reference"),
    *("resample", "item", "layer"),
)
# Parts of a record that are JSON.
_JSON = (*PARTS, "curve", "more")
_FOLDED = (dict, list, np.ndarray)


def read_flat(path: Path) -> pd.DataFrame:
    """Read a file of `collect` or `effects`; a list or dictionary gets a column for each of its parts.

    A study has one row.

    Raises:
        HfpruneError: the file is missing or cannot be read.
    """
    if path.suffix == ".yaml":
        return _unfolded(pd.DataFrame([load(Study, path).model_dump(mode="json")]))
    if path.suffix == ".parquet":
        table = read_union(path)
        if path.name == RECORDS:
            with readable(path, ValueError, TypeError):
                table = table.assign(**{name: table[name].map(json.loads) for name in _JSON if name in table})
        return _unfolded(table)
    with readable(path, OSError, ValueError):
        return pd.read_csv(path, dtype=str, keep_default_na=False)


def read_lines(path: Path) -> pd.DataFrame:
    """Read a text file as a table with one row per `line`."""
    with readable(path, OSError, ValueError):
        lines = path.read_text(encoding="utf-8").splitlines()
    return pd.DataFrame({"line": range(1, len(lines) + 1), "text": lines})


def _unfolded(table: pd.DataFrame) -> pd.DataFrame:
    folded = [name for name in table if table[name].map(lambda value: isinstance(value, _FOLDED)).any()]
    if not folded:
        return table
    parts = [
        pd.DataFrame([dict(_leaves(value, name)) for value in table[name]], table.index) for name in folded
    ]
    return pd.concat([table.drop(columns=folded), *parts], axis=1)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the values within lists and dictionaries, each with its place; empty ones yield nothing."""
    if not isinstance(value, _FOLDED):
        yield name, value
        return
    for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(inner, f"{name}.{part}")
