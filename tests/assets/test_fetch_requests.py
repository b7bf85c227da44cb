"""Gold requests from small dumps, and real ones of the catalogue."""

import json
from pathlib import Path
from typing import Any

import pytest
from assets.local import fetch_local, shipped_catalogue

from hfprune.assets.catalogue import Catalogue
from hfprune.assets.fetching import KINDS, fetch_asset
from hfprune.assets.requests import read_requests
from hfprune.errors import HfpruneError


def record(document: int, idx: int, label: Any, context: str, continuation: str) -> dict[str, Any]:
    request = {"context": context, "continuation": continuation}
    return {"doc_id": document, "native_id": None, "idx": idx, "label": label, "request": request}


CHOICES = [
    record(number + again, idx, label, "Answer:" if again else f"{number}?", f" {choice}")
    for again in (0, 1_000_000)
    for number, label in ((0, 1), (1, 0))
    for idx, choice in enumerate(("é", "two", "three"))
]


def fetch(path: Path, records: list[Any], rows: int) -> list[dict[str, Any]]:
    path.write_text("\n".join(map(json.dumps, records)))
    return read_requests(fetch_local("requests", "some", path, rows=rows)).to_pylist()


def test_of_several_choices_the_gold_one_is_kept_without_the_records_for_normalisation(
    tmp_path: Path,
) -> None:
    assert fetch(tmp_path / "r.jsonl", CHOICES, 2) == [
        {"document": 0, "context": "0?", "continuation": " two"},
        {"document": 1, "context": "1?", "continuation": " é"},
    ]


def test_without_choices_the_only_record_is_the_gold_answer(tmp_path: Path) -> None:
    records = [record(3, 0, ["a", "b"], "Q", " a"), record(5, 0, "c", "", " c")]
    assert fetch(tmp_path / "r.jsonl", records, 2) == [
        {"document": 3, "context": "Q", "continuation": " a"},
        {"document": 5, "context": "", "continuation": " c"},
    ]


def test_requests_that_are_not_there_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"no requests\.arrow; get it with `hfprune fetch requests/other`"):
        read_requests(tmp_path / "other")


def test_every_kind_of_asset_has_a_fetcher() -> None:
    assert [*KINDS] == [*Catalogue.model_fields]


def test_real_dumps(tmp_path: Path, downloads: Path) -> None:
    """One of every form: choices with and without ids, the first of several answers, code."""
    catalogue = shipped_catalogue()
    first = {
        "naturalqs_open": ("who is playing halftime show super bowl 2018\nAnswer:", " Justin Timberlake"),
        "arc_easy": (
            "Question: Which technology was developed most recently?\nAnswer:",
            " cellular telephone",
        ),
        "winogrande": ("better surgeon than Maria so Maria", " always got the easier cases."),
        "mt_mbpp_rust": ("a given character from the string.```rust", "fn remove_occ(s: &str, ch: char) -> "),
    }
    for name, (context, continuation) in first.items():
        fetch_asset("requests", name, catalogue.requests[name], tmp_path / name, downloads)
        table = read_requests(tmp_path / name)
        assert table.num_rows == catalogue.requests[name].rows == len(set(table["document"].to_pylist()))
        (row,) = table.slice(0, 1).to_pylist()
        assert row["context"].endswith(context)
        assert row["continuation"].startswith(continuation)
