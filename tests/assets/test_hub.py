"""The hub provider: the real client against a small hub on the loopback interface."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from assets.hub_server import COMMIT, HubServer, be_the_hub, serving
from command_line import failure, run
from conftest import build_tiny
from huggingface_hub import constants
from pyarrow import parquet
from smoke import build_tokenizer, write

from hfprune.assets.catalogue import CorpusAsset, HubSource, ModelAsset
from hfprune.assets.corpora import read_corpus
from hfprune.assets.fetching import fetch_asset
from hfprune.assets.formats import is_fetched
from hfprune.assets.hub import pending, repo_files
from hfprune.assets.prefetch import pinned
from hfprune.errors import HfpruneError
from hfprune.files import read_json

LARGE = bytes(range(256)) * 80
FILES = {
    "data/a.txt": b"first\n",
    "data/b.txt": b"second\n",
    "data/large.bin": LARGE,
    "config.json": b"{}",
    "tokenizer.json": b"[]",
    "pytorch_model.bin": b"a pickle",
    "modeling_custom.py": b"raise SystemExit",
    "original/tokenizer.model": b"another layout of the same model",
}


@pytest.fixture
def server() -> Iterator[HubServer]:
    with serving(dict(FILES)) as server:
        yield server


@pytest.fixture
def hub(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    be_the_hub(server, tmp_path / "cache", monkeypatch)
    return server


def source(*files: str) -> HubSource:
    return HubSource(provider="hub", repo="some/thing", revision=COMMIT, files=list(files))


def test_listed_files_of_a_dataset_in_their_order_and_then_from_the_cache(
    tmp_path: Path, hub: HubServer
) -> None:
    asset = CorpusAsset(source=source("data/b.txt", "data/a.txt"), format="lines")
    fetch_asset("corpora", "texts", asset, tmp_path / "out", tmp_path / "downloads")
    assert read_corpus(tmp_path / "out") == ["second", "first"]
    assert ("GET", f"/datasets/some/thing/resolve/{COMMIT}/data/a.txt", None) in hub.asked
    hub.asked.clear()
    fetch_asset("corpora", "texts", asset, tmp_path / "again", tmp_path / "downloads")
    assert read_corpus(tmp_path / "again") == ["second", "first"]
    assert hub.asked == []
    with pytest.raises(HfpruneError, match=r"has no file 'data/c\.txt'"):
        repo_files(source("data/a.txt", "data/c.txt"), "dataset", ())
    with pytest.raises(HfpruneError, match=r"add them under source\.files"):
        repo_files(source(), "dataset", ())


def test_a_model_takes_neither_pickles_nor_code_nor_subfolders(tmp_path: Path, hub: HubServer) -> None:
    patterns = ["*.json", "model*.safetensors", "tokenizer.model"]
    files = repo_files(source(), "model", patterns)
    assert [file.name for file in files] == ["config.json", "tokenizer.json"]
    assert set(hub.count()) == {"config.json", "tokenizer.json"}
    with pytest.raises(HfpruneError, match="pickled weights are not loaded"):
        fetch_asset("models", "m", ModelAsset(source=source()), tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
@pytest.mark.parametrize(
    ("status", "code", "parts"),
    [
        *((status, "GatedRepo", ["accept its licence on https://huggingface.co/", "`hf auth login`", "HF_TOKEN"])
          for status in (401, 403)),
        *((status, "", [f"access refused ({status})", "`hf auth login`", "HF_TOKEN"]) for status in (401, 403)),
        (404, "RepoNotFound", ["or a private one", "`hf auth login`"]),
        (404, "RevisionNotFound", [f"has no revision {COMMIT}"]),
        (404, "EntryNotFound", [f"at revision {COMMIT}"]),
        (418, "", ["status 418"]),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(
    hub: HubServer, repo_type: str, status: int, code: str, parts: list[str]
) -> None:
    hub.refusal = (status, code)
    wanted = source("data/x.parquet") if repo_type == "dataset" else source()
    with pytest.raises(HfpruneError) as error:
        repo_files(wanted, repo_type, ["*.json"])
    message = str(error.value)
    with pytest.raises(HfpruneError) as before:
        pending(wanted, repo_type, ["*.json"])
    assert str(before.value) == message, "said before anything is downloaded, too"
    assert message.startswith("some/thing: ")
    assert [part for part in parts if part not in message] == []
    assert "\n" not in message
    if code == "GatedRepo":
        assert ("https://huggingface.co/datasets/some/thing" in message) == (repo_type == "dataset")


def test_offline_and_not_in_the_cache(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = r"some/thing: not in .* cache.*`hfprune fetch`"
    for wanted in (source(), source("data/a.txt")):
        assert pending(wanted, "model", ["*.json"]) == {"some/thing": None}, "of unknown size"
        with pytest.raises(HfpruneError, match=message):
            repo_files(wanted, "model", ["*.json"])
    branch = source("data/a.txt").model_copy(update={"revision": "main"})
    with pytest.raises(HfpruneError, match=message):
        pinned(CorpusAsset(source=branch, format="lines"), Path("nowhere"))
    assert hub.asked == []


def test_a_broken_connection_is_taken_up_where_it_broke(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what arrives is kept in such pieces
    hub.cuts["data/large.bin"] = 5500
    (file,) = repo_files(source("data/large.bin"), "dataset", ())
    assert [asked for method, _, asked in hub.asked if method == "GET"] == [None, "bytes=5000-"]
    assert file.read_bytes() == LARGE


@pytest.mark.parametrize("name", ["data/large.bin", "data/a.txt"])
def test_bytes_that_are_not_what_the_hub_states_are_refused_and_fetched_anew(
    hub: HubServer, name: str
) -> None:
    hub.damaged.add(name)
    with pytest.raises(
        HfpruneError, match=r"^some/thing: \S+ has the hash \w+ but the hub states \w+; .*again$"
    ):
        repo_files(source(name), "dataset", ())
    hub.damaged.clear()
    (file,) = repo_files(source(name), "dataset", ())
    assert file.read_bytes() == FILES[name]
    assert hub.count()[name] == 2


def test_a_branch_stays_at_the_commit_that_was_fetched_first(tmp_path: Path, hub: HubServer) -> None:
    branch = HubSource(provider="hub", repo="some/thing", revision="main", files=["data/a.txt"])
    asset, out = CorpusAsset(source=branch, format="lines"), tmp_path / "out"
    assert not is_fetched(out, asset)
    fetch_asset("corpora", "texts", pinned(asset, out), out, tmp_path)
    assert read_json(out / "asset.json")["entry"]["source"]["revision"] == COMMIT
    hub.head = "f" * 40
    assert is_fetched(out, asset)
    assert pinned(asset, out).source.revision == COMMIT
    assert pinned(asset, tmp_path / "elsewhere").source.revision == "f" * 40
    other = asset.model_copy(update={"source": branch.model_copy(update={"repo": "other/thing"})})
    assert not is_fetched(out, other)
    assert pinned(other, out).source.revision == "f" * 40


def test_what_is_cached_is_not_pending(hub: HubServer) -> None:
    wanted = source("data/a.txt", "data/large.bin")
    assert pending(wanted, "dataset", ()) == {"some/thing/data/a.txt": 6, "some/thing/data/large.bin": 20480}
    repo_files(source("data/large.bin"), "dataset", ())
    assert pending(wanted, "dataset", ()) == {"some/thing/data/a.txt": 6}
    model = pending(source(), "model", ["*.json"])
    assert model == {"some/thing/config.json": 2, "some/thing/tokenizer.json": 2}


@pytest.fixture
def project(server: HubServer, tmp_path: Path) -> Path:
    """A project whose study needs a model, a corpus and a task of the hub."""
    build_tiny("qwen2", vocab_size=400).save_pretrained(tmp_path / "model", max_shard_size="100KB")
    build_tokenizer().save_pretrained(tmp_path / "model")
    server.files |= {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    server.files["text.json.gz"] = gzip.compress(b'{"text": "one"}\n{"text": "two"}\n')
    pairs = pa.Table.from_pylist([{"sent_more": "a", "sent_less": "b"}])
    parquet.write_table(pairs, tmp_path / "pairs.parquet")
    server.files["test.parquet"] = (tmp_path / "pairs.parquet").read_bytes()
    hub = {"provider": "hub", "repo": "some/thing", "revision": COMMIT}
    task = {"source": hub | {"revision": "main", "files": ["test.parquet"]}, "format": "parquet", "rows": 1}
    catalogue = {
        "models": {"tiny": {"source": hub}},
        "corpora": {"text": {"source": hub | {"files": ["text.json.gz"]}, "format": "jsonl"}},
        "tasks": {"crows_pairs_english": task},
    }
    study = {
        "models": ["tiny"],
        "methods": {"entropy": None},
        "ratios": [0.2],
        "calibrations": {"text": {"corpus": "text", "sequences": 1, "length": 8}},
        "measures": {"zeroshot": {"tasks": ["crows_pairs_english"]}},
    }
    write(tmp_path / "assets.yaml", catalogue)
    write(tmp_path / "study.yaml", study)
    return tmp_path


def test_a_study_is_prefetched_and_then_runs_without_the_hub(project: Path, hub: HubServer, capsys) -> None:
    """Once as a user does, with the client set up by its own variables."""
    fetch = ("fetch", "--study", project / "study.yaml", "--catalogue", project / "assets.yaml")
    fetch = (*fetch, "--resources", project / "resources")
    client = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(project / "home"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "hfprune", *fetch],
        env=os.environ | client,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("fetch: ")]
    model = sum(path.stat().st_size for path in (project / "model").iterdir())
    assert lines[0] == f"fetch: models/tiny: {model / 1000:.3g}kB"
    kinds = "models/tiny", "corpora/text", "tasks/crows_pairs_english"
    assert [line.split(": ")[1] for line in lines] == [
        *kinds,
        "in all",
        *(f"{kind} to {project / 'resources' / kind}" for kind in kinds),
    ]
    weights = project / "resources/models/tiny/model.safetensors.index.json"
    assert len(set(json.loads(weights.read_text())["weight_map"].values())) > 1
    assert max(hub.count().values()) == 1
    hub.asked.clear()
    run(*fetch)
    again = capsys.readouterr().err
    assert again.count("is already there") == 3 and again.count("\n") == 3
    run("budget", "--model", project / "resources/models/tiny", "--ratios", "0.2")
    assert hub.asked == []


def test_no_room_or_no_access_is_said_before_anything_is_downloaded(project: Path, hub: HubServer) -> None:
    hub.sizes["text.json.gz"] = 10**18
    fetch = ("fetch", "--catalogue", project / "assets.yaml", "--resources", project / "resources")
    room = (
        r"resources: \S+B are needed but \S+B are free; make room or choose another folder with --resources"
    )
    assert re.search(room, failure(*fetch, "corpora/text"))
    assert hub.count() == {}
    hub.refusal = (403, "GatedRepo")
    gated = "accept its licence on https://huggingface.co/datasets/some/thing"
    assert gated in failure(*fetch, "corpora/text", "models/tiny")
