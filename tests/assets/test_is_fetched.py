from pathlib import Path

from hfprune.assets.catalogue import CorpusAsset
from hfprune.assets.formats import describe, is_fetched

HUB = {"provider": "hub", "repo": "a/b", "revision": "0" * 40, "files": ["x.jsonl"]}


def corpus(**changes) -> CorpusAsset:
    return CorpusAsset.model_validate({"source": HUB, "format": "jsonl"} | changes)


def test_whole_and_current_is_kept(tmp_path: Path) -> None:
    (tmp_path / "corpus.arrow").write_bytes(b"12345")
    describe(tmp_path, "corpus", "c", corpus(), documents=1)
    assert is_fetched(tmp_path, corpus())
    assert not is_fetched(tmp_path, corpus(documents=(0, 1))), "the entry was edited"
    (tmp_path / "corpus.arrow").write_bytes(b"123")
    assert not is_fetched(tmp_path, corpus()), "a file was cut"
    (tmp_path / "corpus.arrow").unlink()
    assert not is_fetched(tmp_path, corpus()), "a file is gone"


def test_nothing_broken_or_local_is_kept(tmp_path: Path) -> None:
    assert not is_fetched(tmp_path, corpus())
    (tmp_path / "asset.json").write_text("{")
    assert not is_fetched(tmp_path, corpus())
    local = corpus(source={"provider": "local", "path": "x"})
    describe(tmp_path, "corpus", "c", local)
    assert not is_fetched(tmp_path, local)
