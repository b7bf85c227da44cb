"""The defects of the published tables: those that `anomalies.csv` knows, and ones put into the tables."""

import pandas as pd
import pytest
from published import PAPER, find, known

from hfprune.paper.tables import read_rows, read_tables

ROWS = read_tables(PAPER)
ANOMALIES = read_rows(PAPER / "anomalies.csv", ["id", "table", "finding", "where"])
FOUND = find(ROWS)
NUMBER = ["value", "printed"]


def test_the_published_tables() -> None:
    matched = [known(defect, ANOMALIES) for defect in FOUND]
    assert {*matched} == {*ANOMALIES.loc[ANOMALIES["finding"] != "", "id"]}
    assert len(FOUND) == 18
    assert {(at, defect.printed, defect.expected) for at, defect in zip(matched, FOUND, strict=True)} >= {
        ("A06", "", "about 39.2"),
        ("A07", "65.9", "about 45.6"),
        ("A12", "0.241 → 0.353, 0.445 → 0.595", "similarity below 0.445"),
    }


def at(table: int, cells: str) -> pd.Series:
    """Choose the cells of a table in which all words of `cells` stand, such as "20% entropy average"."""
    names = ROWS[["model", "method", "column"]].assign(ratio=ROWS["ratio"].map("{:.0%}".format))
    stand = [names.eq(word).any(axis=1) for word in cells.split()]
    found = ROWS["table"].eq(table) & pd.concat(stand, axis=1).all(axis=1)
    assert found.any(), cells
    return found


def put(table: int, cells: str, number: str) -> pd.DataFrame:
    rows = ROWS.copy()
    rows.loc[at(table, cells), NUMBER] = float(number), number
    return rows


def copied(table: int, source: str, target: str) -> pd.DataFrame:
    rows = ROWS.copy()
    rows.loc[at(table, target), NUMBER] = rows.loc[at(table, source), NUMBER].to_numpy()
    return rows


LLAMA = "LLaMA-2-7B"
OTHER_TASK = ROWS.assign(task=ROWS["task"].mask(at(6, "boolq"), "copa"))
REPEATED = f"{LLAMA} 20% entropy, none"


@pytest.mark.parametrize(
    ("rows", "new"),
    [
        (put(6, "20% distillation average", "52.1"), [("wrong average", f"{LLAMA} 20% distillation, none")]),
        (ROWS[~at(1, "30% sdmprune boolq")], [("missing cell", f"{LLAMA} 30% sdmprune, lora: boolq")]),
        (
            copied(6, "30% cross_entropy", "30% distillation"),
            [("duplicated row", f"{LLAMA} 30% cross_entropy, none = {LLAMA} 30% distillation, none")],
        ),
        (
            put(4, "20% prefill_speedup", "1.25"),
            [("wrong derived number", f"{LLAMA} 20% entropy, lora: prefill_speedup")],
        ),
        (
            put(7, "30% entropy js_distance", "0.5"),
            [("opposed directions", f"{LLAMA} 30% entropy, none: js_distance and top15_jaccard")],
        ),
        (
            put(2, "LLaMA3.2-3.2B 30% llm_pruner average", "52.25"),
            [("rising average", "LLaMA3.2-3.2B 30% llm_pruner, lora")],
        ),
        (put(4, "20% average", "58.9"), [("conflicting values", f"{LLAMA} 20% entropy, lora: average")]),
        (OTHER_TASK, [("different task sets", "average without boolq and with copa")]),
        (
            put(6, "20% entropy arc_challenge", "71.8"),
            [
                ("wrong average", REPEATED),
                ("repeated value", f"{REPEATED}: arc_challenge = boolq"),
                ("conflicting values", f"{REPEATED}: arc_challenge"),
            ],
        ),
        # Two equal numbers are chance; 57.5 / 46.3 is 1.2419, but 57.45 / 46.35 is 1.2395, and prints as 1.24.
        (copied(2, "LLaMA3.2-1.2B 30% loraprune", "LLaMA3.2-1.2B 30% llm_pruner"), []),
        (put(4, "20% prefill_speedup", "1.2395"), []),
    ],
)
def test_a_constructed_defect_is_found_as_new(rows: pd.DataFrame, new: list[tuple[str, str]]) -> None:
    found = [defect for defect in find(rows) if defect not in FOUND]
    assert [(defect.kind, defect.where) for defect in found] == new
