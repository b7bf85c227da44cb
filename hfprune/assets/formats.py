"""The file formats in which assets arrive and are stored, and the description beside them."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import pyarrow as pa
from pyarrow import parquet

from hfprune.assets.catalogue import Asset, HubSource, LocalSource
from hfprune.assets.spelling import FORMS
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import read_json, sha256, write_json

AnyAsset = TypeVar("AnyAsset", bound=Asset)


class Facts(TypedDict, total=False):
    """What `asset.json` records of an asset besides its entry; each kind has some of these fields."""

    license: str
    base: dict[str, str]
    """Hashes of the base's files, for a rounded model."""
    documents: int
    pairs: int
    rows: int
    split: str


def describe(folder: Path, kind: str, name: str, asset: Asset, **facts: Unpack[Facts]) -> None:
    """Write `asset.json`: the catalogue's entry, `facts`, and size and hash of every file in `folder`."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in folder.iterdir()}
    entry = asset.model_dump(mode="json")
    write_json(folder / "asset.json", {"kind": kind, "name": name, "entry": entry, "files": files, **facts})


def is_fetched(folder: Path, asset: Asset) -> bool:
    """Tell whether `folder` holds the asset of this catalogue entry, with every file complete in size.

    A local asset is always fetched again, since nothing pins it.
    """
    if isinstance(asset.source, LocalSource) or not is_whole(folder):
        return False
    return read_json(folder / "asset.json").get("entry") == as_fetched(asset, folder).model_dump(mode="json")


def is_whole(folder: Path) -> bool:
    """Tell whether `folder` holds a fetched asset, with every file complete in size."""
    try:
        files = read_json(folder / "asset.json")["files"]
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, KeyError):
        return False


def as_fetched(asset: AnyAsset, folder: Path) -> AnyAsset:
    """Return `asset` at the commit of the fetched `folder`, where the catalogue names only a branch."""
    source = asset.source
    if not isinstance(source, HubSource) or source.pinned:
        return asset
    try:
        fetched = read_json(folder / "asset.json")["entry"]["source"]
        return at_commit(asset, fetched["revision"]) if fetched["repo"] == source.repo else asset
    except (OSError, ValueError, KeyError):
        return asset


def at_commit(asset: AnyAsset, commit: str) -> AnyAsset:
    """Return `asset`, whose source is a hub repository, with `commit` as its revision."""
    assert isinstance(asset.source, HubSource)
    return asset.model_copy(update={"source": asset.source.model_copy(update={"revision": commit})})


def read_text(path: Path) -> str:
    """Read a UTF-8 file; a file whose name ends in `.gz` is decompressed."""
    text = f"{path}: cannot be read as text: {REASON}; is it damaged?"
    with explained(text, OSError, EOFError, UnicodeDecodeError, zlib.error):
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file without LF or CRLF; a final line break adds an empty line."""
    # Not `splitlines`, which also breaks at U+0085, U+2028 and other characters found inside web text.
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object per line; blank lines are skipped."""
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        with explained(f"{path}: line {number} is not JSON: {REASON}", json.JSONDecodeError):
            record = json.loads(line)
        if not isinstance(record, dict):
            raise HfpruneError(f"{path}: line {number} is not a JSON object")
        records.append(record)
    return records


def read_table(path: Path) -> pa.Table:
    """Read a `.parquet` file, or an `.arrow` file in either of its two layouts, without schema metadata."""
    with explained(f"{path}: not a valid {path.suffix} file; fetch or copy it again", pa.ArrowInvalid):
        table = parquet.read_table(path) if path.suffix == ".parquet" else _read_arrow(path)
    # The metadata is for the version of `datasets` that wrote it; other versions may fail to read it.
    return table.replace_schema_metadata(None)


def read_fetched(kind: str, folder: Path) -> pa.Table:
    """Return the table of a fetched corpus, or of fetched instructions or requests.

    Raises:
        HfpruneError: the folder holds no such table.
    """
    path = folder / FORMS[kind].marker
    if not path.is_file():
        raise HfpruneError(f"{folder}: no {path.name}; get it with `hfprune fetch {kind}/{folder.name}`")
    return read_table(path)


def require_rows(what: str, expected: int | None, rows: int) -> None:
    """Fail unless `what` has as many documents as the catalogue expects; None expects no number.

    Raises:
        HfpruneError: the numbers differ.
    """
    if expected is not None and rows != expected:
        raise HfpruneError(
            f"{what}: expected {expected} documents but found {rows}; "
            "correct the source or the rows in config/assets.yaml"
        )


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file, which `datasets.load_dataset("arrow", …)` loads."""
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        try:
            return pa.ipc.open_file(file).read_all()
        except pa.ArrowInvalid:
            file.seek(0)
            return pa.ipc.open_stream(file).read_all()
