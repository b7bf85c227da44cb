"""A small hub on the loopback interface: the endpoints that the real client asks for one repository's files."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".parquet", ".gz", ".bin")


class HubServer(ThreadingHTTPServer):
    """Serves `files` in every repository at the commit `head`; the tests make it fail."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.head = COMMIT
        self.refusal: tuple[int, str] | None = None  # status and error code of every answer
        self.cuts: dict[str, int] = {}  # bytes after which the connection is cut, once for each file
        self.damaged: set[str] = set()  # files that arrive with other bytes than stated
        self.sizes: dict[str, int] = {}  # sizes that are stated in place of the true ones
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, Range
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def count(self) -> Counter[str]:
        return Counter(path.partition("/resolve/")[2].partition("/")[2] for method, path, _ in self.asked
                       if method == "GET" and "/resolve/" in path)  # fmt: skip


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[HubServer]:
    server = HubServer(files)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def be_the_hub(server: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what HF_ENDPOINT and HF_HOME would set, had this process not imported the client yet."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        if hub.refusal:
            return self._answer(hub.refusal[0], b"", {"X-Error-Code": hub.refusal[1]})
        if path.startswith("/api/"):
            what, _, revision = path.rpartition("/")
            if revision not in (hub.head, "main", COMMIT):
                return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            listing = self._tree() if what.endswith("/tree") else {"id": "some/thing", "sha": hub.head}
            return self._answer(200, json.dumps(listing).encode())
        commit, _, file = path.partition("/resolve/")[2].partition("/")
        if file not in hub.files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        self._send(file, hub.head if commit == "main" else commit)

    def _tree(self) -> list[dict]:
        entries = []
        for name, data in self.server.files.items():
            size = self.server.sizes.get(name, len(data))
            entry = {"type": "file", "path": name, "size": size, "oid": _git_hash(data)}
            if name.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 134}
            entries.append(entry)
        return entries

    def _send(self, file: str, commit: str) -> None:
        hub, data = self.server, self.server.files[file]
        large = file.endswith(LARGE)
        stated = hashlib.sha256(data).hexdigest() if large else _git_hash(data)
        headers = {"ETag": f'"{stated}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-Etag": f'"{stated}"', "X-Linked-Size": str(hub.sizes.get(file, len(data)))}
        if file in hub.damaged:
            data = bytes(byte ^ 1 for byte in data)
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = hub.cuts.pop(file, None) if self.command == "GET" else None
        self._answer(206 if start else 200, data[start:], headers, cut)

    def _answer(self, status: int, body: bytes, headers: dict | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
