"""The defects of the published tables: those that `anomalies.csv` knows, and ones put into the tables."""

import pandas as pd
import pytest

from hfprune.paper.defects import PAPER, anomaly_ids, find
from hfprune.paper.printed import read_rows, read_tables

ROWS = read_tables(PAPER)
ANOMALIES = read_rows(PAPER / "anomalies.csv", ["id", "table", "finding", "where"])
FOUND = find(ROWS)


def test_the_published_tables() -> None:
    """Every kind of defect is among them."""
    matched = [anomaly_ids(defect, ANOMALIES) for defect in FOUND]
    assert {*matched} == {*ANOMALIES.loc[ANOMALIES["finding"] != "", "id"]}
    assert len(FOUND) == 18
    assert {(at, defect.printed, defect.expected) for at, defect in zip(matched, FOUND, strict=True)} >= {
        ("A01", "11 equal numbers", "different rows"),
        ("A05", "54.3", "at most 51.7, as at 30 %"),
        ("A06", "", "about 39.2"),
        ("A07", "56.7", "58.73"),
        ("A07", "65.9", "about 45.6"),
        ("A09", "1.35", "1.366"),
        ("A12", "0.241 → 0.353, 0.445 → 0.595", "similarity below 0.445"),
        ("A14", "33.6", "33.2"),
        ("A15", "9 tasks", "10 tasks"),
    }


def put(table: int, cells: str, number: str) -> pd.DataFrame:
    """Set the cells of a table in which all words of `cells` stand, such as "20% entropy average"."""
    names = ROWS[["model", "method", "column"]].assign(ratio=ROWS["ratio"].map("{:.0%}".format))
    stand = [names.eq(word).any(axis=1) for word in cells.split()]
    found = ROWS["table"].eq(table) & pd.concat(stand, axis=1).all(axis=1)
    assert found.any(), cells
    rows = ROWS.copy()
    rows.loc[found, ["value", "printed"]] = float(number), number
    return rows


LINE = "LLaMA-2-7B 20 % entropy, none"


@pytest.mark.parametrize(
    ("rows", "new"),
    [
        (
            put(6, "20% entropy arc_challenge", "71.8"),
            [
                ("wrong average", LINE),
                ("repeated value", f"{LINE}: arc_challenge = boolq"),
                ("conflicting values", f"{LINE}: arc_challenge"),
            ],
        ),
        (
            put(4, "20% prefill_speedup", "1.25"),
            [("wrong derived number", "LLaMA-2-7B 20 % entropy, lora: prefill_speedup")],
        ),
        # 57.5 / 46.3 is 1.2419, but 57.45 / 46.35 is 1.2395, and prints as 1.24.
        (put(4, "20% prefill_speedup", "1.2395"), []),
        # Two equal numbers, here as of LLM-Pruner, are chance.
        (put(2, "LLaMA3.2-3.2B 30% loraprune average", "48.68"), []),
    ],
)
def test_a_constructed_defect_is_found_as_new(rows: pd.DataFrame, new: list[tuple[str, str]]) -> None:
    found = [defect for defect in find(rows) if defect not in FOUND]
    assert [(defect.kind, defect.where) for defect in found] == new
