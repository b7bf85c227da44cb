"""The audit of the published tables: what it finds in them, in repaired copies and in damaged ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hfprune.errors import HfpruneError
from hfprune.paper.audit import ANOMALIES, CHECKS, FINDING_COLUMNS, audit, find, report
from hfprune.paper.tables import TABLE_FILES, read_tables

PAPER = Path(__file__).parents[2] / "paper"
FOUND = {f"A{number:02}" for number in [*range(1, 10), 12, 13, 14, 15]}

Edit = Callable[[pd.DataFrame], pd.DataFrame]
Cell = dict[str, str]

LORAPRUNE = {"method": "loraprune", "ratio": "0.2"}
TUNED_MLP = {"method": "entropy", "recovery": "lora"}


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return audit(PAPER)


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PAPER, tmp_path / "paper"))


def edit(paper: Path, number: int, *edits: Edit) -> None:
    path = paper / "tables" / f"table{number}.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    for change in edits:
        rows = change(rows)
    rows.to_csv(path, index=False)


def chosen(rows: pd.DataFrame, cell: Cell) -> pd.Series:
    found = (rows[list(cell)] == pd.Series(cell)).all(axis=1)
    assert found.any(), f"no row has {cell}"
    return found


def put(value: str, **cell: str) -> Edit:
    return lambda rows: rows.assign(value=rows["value"].mask(chosen(rows, cell), value))


def drop(**cell: str) -> Edit:
    return lambda rows: rows[~chosen(rows, cell)]


def copy(source: Cell, target: Cell) -> Edit:
    """Overwrite the numbers of one printed row with those of another."""

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        values = rows.loc[chosen(rows, source), "value"].to_numpy()
        rows.loc[chosen(rows, target), "value"] = values
        return rows

    return change


def as_in_table(number: int, cell: Cell) -> Edit:
    """Overwrite the numbers of a setting with those of another table."""
    other = pd.read_csv(PAPER / "tables" / f"table{number}.csv", dtype=str, keep_default_na=False)
    other = other[chosen(other, cell) & (other["task"] != "average")].set_index("task")["value"]

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        here = chosen(rows, cell)
        values = rows["task"].map(other)
        mean = f"{values[here].astype(float).mean():.1f}"
        return rows.assign(value=rows["value"].where(~here, values.fillna(mean)))

    return change


def insert(like: Cell, **changes: str) -> Edit:
    """Append copies of the rows that `like` chooses, changed."""
    return lambda rows: pd.concat([rows, rows[chosen(rows, like)].assign(**changes)])


def test_the_published_tables(published: pd.DataFrame) -> None:
    assert [*published] == FINDING_COLUMNS
    assert set(published["finding"]) == set(CHECKS)
    assert set(published["anomaly"]) == FOUND
    assert published.groupby("finding", sort=False).size().to_dict() == {
        "wrong average": 1,
        "repeated value": 1,
        "missing cell": 1,
        "duplicated row": 4,
        "wrong derived number": 3,
        "opposed directions": 2,
        "rising average": 2,
        "conflicting values": 3,
        "different task sets": 1,
    }


@pytest.mark.parametrize(
    ("anomaly", "finding", "printed", "expected"),
    [
        ("A06", "missing cell", "", "about 39.2"),
        ("A07", "wrong average", "56.7", "58.73"),
        ("A07", "repeated value", "65.9", "about 45.6"),
        ("A08", "wrong derived number", "17.9", "16.88"),
        ("A09", "wrong derived number", "1.35", "1.366"),
        ("A09", "wrong derived number", "1.47", "1.366"),
        ("A12", "opposed directions", "0.241 → 0.353, 0.445 → 0.595", "similarity below 0.445"),
        ("A14", "conflicting values", "33.6", "33.2"),
        ("A15", "different task sets", "9 tasks", "10 tasks"),
    ],
)
def test_printed_and_expected(
    published: pd.DataFrame, anomaly: str, finding: str, printed: str, expected: str
) -> None:
    rows = published[["anomaly", "finding", "printed", "expected"]].to_numpy().tolist()
    assert [anomaly, finding, printed, expected] in rows


def test_all_other_averages_agree_within_rounding() -> None:
    rows = read_tables(PAPER)
    line = ["table", "model", "ratio", "method", "recovery"]
    mean = rows[~rows["task"].isin(["", "average"])].groupby(line)["value"].agg(["mean", "count"])
    average = rows[rows["task"] == "average"].set_index(line)["value"]
    gap = (mean["mean"] - average).dropna().abs()
    assert len(gap) == 42
    # Half a digit of the average and half a digit of the scores.
    assert gap[gap > 0.1 + 1e-9].index.tolist() == [
        (1, "LLaMA-2-7B", 0.2, "loraprune", "lora"),
        (3, "Qwen2.5-7B", 0.3, "sdmprune", "lora"),  # lacks a task
    ]
    assert mean["count"].value_counts().to_dict() == {10: 33, 9: 9, 6: 2}


def test_neither_marks_nor_known_anomalies_are_read_by_the_checks(
    published: pd.DataFrame, paper: Path
) -> None:
    for number in range(1, 9):
        edit(paper, number, lambda rows: rows.drop(columns=["confidence", "label", "source"]))
    (paper / ANOMALIES).unlink()
    pd.testing.assert_frame_equal(find(read_tables(paper)), published[FINDING_COLUMNS[:-1]])


def test_models_and_methods_have_no_fixed_names(published: pd.DataFrame, paper: Path) -> None:
    def rename(rows: pd.DataFrame) -> pd.DataFrame:
        methods = rows["method"].where(rows["method"] == "dense", "their-" + rows["method"])
        return rows.assign(model="my-" + rows["model"], method=methods)

    for number in range(1, 9):
        edit(paper, number, rename)
    kinds = ["finding", "table", "printed"]
    pd.testing.assert_frame_equal(audit(paper)[kinds], published[kinds])


NEIGHBOUR_OF_GAP = {"model": "Qwen2.5-7B", "method": "entropy", "ratio": "0.3", "task": "race"}
# Anomaly → table, edits, and the anomalies that they take away.
REPAIRS = {
    "A01": (
        3,
        [put("44.8", model="Qwen2.5-7B", method="sdmprune", ratio="0.4", task="truthfulqa_mc2")],
        {"A01"},
    ),
    "A02": (3, [put("38.6", model="Qwen2.5-1.5B", method="entropy", ratio="0.2", task="race")], {"A02"}),
    "A03": (3, [put("37.2", model="Qwen3-1.7B", method="sdmprune", ratio="0.2", task="race")], {"A03"}),
    "A04": (3, [drop(model="Qwen3-1.7B", method="entropy", ratio="0.2")], {"A04"}),
    "A05": (3, [drop(model="Qwen2.5-1.5B", ratio="0.4")], {"A03", "A04", "A05"}),
    "A06": (3, [insert(NEIGHBOUR_OF_GAP, method="sdmprune", value="39.2")], {"A06"}),
    "A07": (1, [put("45.6", task="truthfulqa_mc2", **LORAPRUNE)], {"A07"}),
    "A08": (4, [put("16.9", metric="decode_gain", ratio="0.2")], {"A08"}),
    "A09": (
        4,
        [
            put("1.37", metric="prefill_speedup", ratio="0.3"),
            put("1.37", metric="prefill_speedup_in_text", ratio="0.3"),
        ],
        {"A09"},
    ),
    "A12": (
        7,
        [
            put("0.345", metric="top15_jaccard", method="entropy", ratio="0.3"),
            put("0.338", metric="top15_jaccard", method="cross_entropy", ratio="0.3"),
        ],
        {"A12"},
    ),
    "A13": (8, [as_in_table(1, TUNED_MLP | {"ratio": ratio}) for ratio in ("0.2", "0.3")], {"A13"}),
    "A14": (8, [put("33.2", task="race", method="entropy", recovery="none", ratio="0.3")], {"A14"}),
    "A15": (8, [drop(task="average")], {"A15"}),
}


@pytest.mark.parametrize("anomaly", REPAIRS)
def test_a_repair_removes_what_it_repairs_and_nothing_else(paper: Path, anomaly: str) -> None:
    number, edits, gone = REPAIRS[anomaly]
    edit(paper, number, *edits)
    assert set(audit(paper)["anomaly"]) == FOUND - gone


def test_every_found_anomaly_has_a_repair() -> None:
    assert set(REPAIRS) == FOUND


def new_findings(paper: Path) -> list[list[str]]:
    findings = audit(paper)
    assert set(findings["anomaly"]) - {""} == FOUND
    return findings.loc[findings["anomaly"] == "", ["finding", "table", "where"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("number", "damage", "found"),
    [
        (
            6,
            put("52.1", task="average", method="distillation", ratio="0.2"),
            ["wrong average", "6", "LLaMA-2-7B 20% distillation, none"],
        ),
        (
            1,
            drop(task="boolq", method="sdmprune", ratio="0.3"),
            ["missing cell", "1", "LLaMA-2-7B 30% sdmprune, lora: boolq"],
        ),
        (
            6,
            copy({"method": "cross_entropy", "ratio": "0.3"}, {"method": "distillation", "ratio": "0.3"}),
            ["duplicated row", "6", "LLaMA-2-7B 30% cross_entropy, none = LLaMA-2-7B 30% distillation, none"],
        ),
        (
            4,
            put("1.25", metric="prefill_speedup", ratio="0.2"),
            ["wrong derived number", "4", "LLaMA-2-7B 20% entropy, lora: prefill_speedup"],
        ),
        (
            2,
            put("52.25", task="average", model="LLaMA3.2-3.2B", method="llm_pruner", ratio="0.3"),
            ["rising average", "2", "LLaMA3.2-3.2B 30% llm_pruner, lora"],
        ),
        (
            4,
            put("58.9", task="average", ratio="0.2"),
            ["conflicting values", "4 vs 1", "LLaMA-2-7B 20% entropy, lora: average"],
        ),
        (
            6,
            lambda rows: rows[rows["task"] != "boolq"].assign(
                value=lambda rest: rest["value"].mask(rest["task"] == "average", np.nan).fillna(means(rest))
            ),
            ["different task sets", "6", "average without boolq"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_planted_defects_are_found_as_new(paper: Path, number: int, damage: Edit, found: list[str]) -> None:
    edit(paper, number, damage)
    assert new_findings(paper) == [found]


def means(rows: pd.DataFrame) -> pd.Series:
    scores = pd.to_numeric(rows["value"]).where(rows["task"] != "average")
    return scores.groupby([rows["method"], rows["ratio"]]).transform("mean").map("{:.1f}".format)


def test_a_planted_repeat_is_found_beside_the_average_it_spoils(paper: Path) -> None:
    edit(paper, 6, put("71.8", task="arc_challenge", method="entropy", ratio="0.2"))
    name = "LLaMA-2-7B 20% entropy, none"
    assert new_findings(paper) == [
        ["wrong average", "6", name],
        ["repeated value", "6", f"{name}: arc_challenge = boolq"],
        ["conflicting values", "8 vs 6", f"{name}: arc_challenge"],
    ]


def test_a_planted_direction_is_found(paper: Path) -> None:
    edit(
        paper,
        7,
        insert({"method": "entropy", "ratio": "0.3"}, ratio="0.4"),
        put("0.5", ratio="0.4", metric="js_distance"),
        put("0.6", ratio="0.4", metric="top15_jaccard"),
    )
    findings = audit(paper)
    where = "LLaMA-2-7B 40% entropy, none: js_distance and top15_jaccard"
    assert findings.loc[findings["where"] == where, "printed"].tolist() == ["0.353 → 0.5, 0.595 → 0.6"]


def test_equal_rows_of_few_numbers_are_chance(paper: Path) -> None:
    row = {"model": "LLaMA3.2-1.2B", "ratio": "0.3"}
    edit(paper, 2, copy(row | {"method": "loraprune"}, row | {"method": "llm_pruner"}))
    assert new_findings(paper) == []


def test_rounding_of_the_raw_numbers_is_no_defect(paper: Path) -> None:
    # 57.5 / 46.3 is 1.2419, but the latencies may be 57.45 and 46.35, and 1.2395 prints as 1.24.
    edit(paper, 4, put("1.2395", metric="prefill_speedup", ratio="0.2"))
    assert new_findings(paper) == []


def test_report(paper: Path) -> None:
    edit(paper, 4, put("1.25", metric="prefill_speedup", ratio="0.2"))
    text = report(audit(paper))
    assert text.startswith("Findings: 19, of which 1 match no known anomaly.\n\n| Finding")
    assert len(text.splitlines()) == 2 + 2 + 19
    assert "| 56.7 " in text and "| A07 " in text


def test_report_of_nothing(published: pd.DataFrame) -> None:
    assert report(published.iloc[:0]) == "Nothing found.\n"


def test_marks_name_anomalies_that_exist() -> None:
    known = pd.read_csv(PAPER / ANOMALIES, dtype=str, keep_default_na=False)
    assert known["id"].tolist() == [f"A{number:02}" for number in range(1, 30)]
    assert (known[["where", "claim", "evidence", "handling"]] != "").all(axis=None)
    marks = read_tables(PAPER)["confidence"]
    assert marks.str.fullmatch(r"ok|(suspect|tentative): A\d\d(, A\d\d)*").all()
    assert set(marks.str.findall(r"A\d\d").explode().dropna()) <= set(known["id"])


@pytest.mark.parametrize("name", [*TABLE_FILES, ANOMALIES])
def test_a_missing_file_is_named(paper: Path, name: str) -> None:
    next(paper.rglob(name)).unlink()
    with pytest.raises(HfpruneError, match=rf"{name}: cannot read it: No such file"):
        audit(paper)


@pytest.mark.parametrize(
    ("name", "column"), [("table5.csv", "metric"), ("table1.csv", "value"), (ANOMALIES, "where")]
)
def test_a_missing_column_is_named(paper: Path, name: str, column: str) -> None:
    path = next(paper.rglob(name))
    pd.read_csv(path, dtype=str).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(HfpruneError, match=rf"{name}: lacks the column {column};"):
        audit(paper)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put("59.O", task="average", ratio="0.2"), r"column value, line 8: '59\.O' is no number"),
        (lambda rows: rows.assign(ratio="20%"), r"column ratio, line 2: '20%' is no number"),
        (lambda rows: rows.assign(table=""), r"column table, line 2: '' is no number"),
        (insert({"metric": "decode_gain", "ratio": "0.3"}), r"column decode_gain, line 20: repeats"),
    ],
)
def test_a_malformed_table_is_named(paper: Path, damage: Edit, message: str) -> None:
    edit(paper, 4, damage)
    with pytest.raises(HfpruneError, match=rf"table4\.csv: {message}") as caught:
        audit(paper)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_named(paper: Path) -> None:
    (paper / "tables" / "table6.csv").write_text("")
    with pytest.raises(HfpruneError, match=r"table6\.csv: not valid CSV"):
        audit(paper)


def test_an_anomaly_that_no_check_can_find_is_named(paper: Path) -> None:
    path = paper / ANOMALIES
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rising average", "falling average"), encoding="utf-8")
    with pytest.raises(HfpruneError, match=r"anomalies\.csv: column finding: 'falling average' is none of"):
        audit(paper)
