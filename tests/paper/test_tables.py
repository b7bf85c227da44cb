"""The published tables as they are read: malformed ones are named, and their marks are known."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from hfprune.errors import HfpruneError
from hfprune.paper.printed import read_tables

PAPER = Path(__file__).parents[2] / "paper"


def test_marks_name_anomalies_that_exist() -> None:
    known = pd.read_csv(PAPER / "anomalies.csv", dtype=str, keep_default_na=False)
    assert known["id"].tolist() == [f"A{number:02}" for number in range(1, 30)]
    assert (known[["where", "claim", "evidence", "handling"]] != "").all(axis=None)
    marks = read_tables(PAPER)["confidence"]
    assert marks.str.fullmatch(r"ok|(suspect|tentative): A\d\d(, A\d\d)*").all()
    assert set(marks.str.findall(r"A\d\d").explode().dropna()) <= set(known["id"])


HEADER = "table,model,ratio,method,recovery,task,metric,value,unit"
NUMBER = "4,m,0.2,entropy,lora,piqa,acc,60,%"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "not valid CSV"),
        (["table,model,ratio"], "lacks the column method; it needs table, model,"),
        ([HEADER, NUMBER.replace("60", "6O")], r"column value, line 2: '6O' is no number"),
        ([HEADER, NUMBER.replace("0.2", "20%")], r"column ratio, line 2: '20%' is no number"),
        ([HEADER, NUMBER[1:]], r"column table, line 2: '' is no number"),
        ([HEADER, NUMBER, NUMBER], r"column piqa, line 3: repeats that of m 20 % entropy, lora"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    paper = Path(shutil.copytree(PAPER, tmp_path / "paper"))
    (paper / "tables/table4.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(HfpruneError, match=rf"table4\.csv: {message}") as caught:
        read_tables(paper)
    assert "\n" not in str(caught.value)
