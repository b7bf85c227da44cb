"""The hub provider: the real client against a small hub on the loopback interface."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from hfprune.assets import fetch_corpus, fetch_model, read_corpus
from hfprune.assets.hub import repo_files
from hfprune.errors import HfpruneError
from hfprune.study import CorpusAsset, HubSource, ModelAsset

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "data/a.txt": b"first\n",
    "data/b.txt": b"second\n",
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "modeling_custom.py": b"raise SystemExit",
    "original/tokenizer.model": b"another layout of the same model",
}


class Hub(BaseHTTPRequestHandler):
    """Serves FILES in every repository, or answers everything with `refusal`: status and error code."""

    refusal: tuple[int, str] | None = None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        _, _, file = self.path.partition(f"/resolve/{REVISION}/")
        if self.refusal:
            self._answer(self.refusal[0], b"", {"X-Error-Code": self.refusal[1]})
        elif "/api/models/" in self.path:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()
            ]
            self._answer(200, json.dumps(tree).encode())
        elif file in FILES:
            etag = hashlib.sha1(FILES[file]).hexdigest()
            self._answer(200, FILES[file], {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION})
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requested = []
    endpoint = f"http://127.0.0.1:{server.server_port}"
    # What HF_ENDPOINT and HF_HOME would set, had the client not been imported yet.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def source(*files: str) -> HubSource:
    return HubSource(provider="hub", repo="some/thing", revision=REVISION, files=list(files))


def test_listed_files_of_a_dataset_in_their_order_and_then_from_the_cache(
    tmp_path: Path, hub: ThreadingHTTPServer
) -> None:
    asset = CorpusAsset(source=source("data/b.txt", "data/a.txt"), format="lines")
    fetch_corpus("texts", asset, tmp_path / "out", tmp_path / "downloads")
    assert read_corpus(tmp_path / "out") == ["second", "first"]
    assert f"/datasets/some/thing/resolve/{REVISION}/data/a.txt" in hub.requested
    hub.requested.clear()
    fetch_corpus("texts", asset, tmp_path / "again", tmp_path / "downloads")
    assert read_corpus(tmp_path / "again") == ["second", "first"]
    assert hub.requested == []


def test_a_model_takes_neither_pickles_nor_code_nor_subfolders(hub: ThreadingHTTPServer) -> None:
    patterns = ["*.json", "model*.safetensors", "tokenizer.model"]
    files = repo_files(source(), "model", patterns)
    assert [file.name for file in files] == ["config.json", "tokenizer.json"]
    assert not any(path.endswith((".bin", ".py", ".model")) for path in hub.requested)


def test_a_model_without_safetensors_is_refused(tmp_path: Path, hub: ThreadingHTTPServer) -> None:
    with pytest.raises(HfpruneError, match="pickled weights are not loaded"):
        fetch_model("m", ModelAsset(source=source()), tmp_path / "out", tmp_path / "downloads")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
@pytest.mark.parametrize(
    ("status", "code", "parts"),
    [
        (401, "GatedRepo", ["accept its licence on https://huggingface.co/", "`hf auth login`", "HF_TOKEN"]),
        (403, "GatedRepo", ["accept its licence on https://huggingface.co/", "`hf auth login`", "HF_TOKEN"]),
        (401, "", ["access refused (401)", "`hf auth login`", "HF_TOKEN"]),
        (403, "", ["access refused (403)", "`hf auth login`", "HF_TOKEN"]),
        (404, "RepoNotFound", ["or a private one", "`hf auth login`"]),
        (404, "RevisionNotFound", [f"has no revision {REVISION}"]),
        (404, "EntryNotFound", [f"at revision {REVISION}"]),
        (418, "", ["status 418"]),
    ],
)
def test_refusals_say_what_to_do(
    hub: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    repo_type: str,
    status: int,
    code: str,
    parts: list[str],
) -> None:
    monkeypatch.setattr(Hub, "refusal", (status, code))
    wanted = source("data/x.parquet") if repo_type == "dataset" else source()
    with pytest.raises(HfpruneError) as error:
        repo_files(wanted, repo_type, ["*.json"])
    message = str(error.value)
    assert message.startswith("some/thing: ")
    assert [part for part in parts if part not in message] == []
    assert "\n" not in message
    if code == "GatedRepo":
        assert ("https://huggingface.co/datasets/some/thing" in message) == (repo_type == "dataset")


def test_a_missing_file_is_named(hub: ThreadingHTTPServer) -> None:
    with pytest.raises(HfpruneError, match=r"has no file 'data/c\.txt'"):
        repo_files(source("data/a.txt", "data/c.txt"), "dataset", ())


def test_offline_and_not_in_the_cache(hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for wanted in (source(), source("data/a.txt")):
        with pytest.raises(HfpruneError, match=r"some/thing: not in .* cache.*`hfprune fetch`"):
            repo_files(wanted, "model", ["*.json"])
    assert hub.requested == []


def test_a_dataset_must_list_its_files() -> None:
    with pytest.raises(HfpruneError, match=r"add them under source\.files"):
        repo_files(source(), "dataset", ())
