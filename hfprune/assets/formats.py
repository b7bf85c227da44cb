"""The few file formats that assets arrive in and are kept in, and the description beside them."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from hfprune.errors import HfpruneError
from hfprune.files import read_json, sha256, write_json
from hfprune.study import CorpusAsset, HubSource, InstructionsAsset, LocalSource, ModelAsset, TaskAsset

Asset = ModelAsset | CorpusAsset | TaskAsset | InstructionsAsset


def describe(folder: Path, kind: str, name: str, asset: Asset, **facts: Any) -> None:
    """Write `asset.json`: the catalogue's entry, `facts`, and size and hash of every file in `folder`."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in folder.iterdir()}
    entry = asset.model_dump(mode="json")
    write_json(folder / "asset.json", {"kind": kind, "name": name, "entry": entry, "files": files, **facts})


def is_fetched(folder: Path, asset: Asset) -> bool:
    """Tell whether `folder` holds what this entry of the catalogue asks for, every file in its full size.

    What comes from this machine is never taken for current, since nothing pins it.
    """
    if isinstance(asset.source, LocalSource):
        return False
    try:
        known = read_json(folder / "asset.json")
        whole = all((folder / name).stat().st_size == file["bytes"] for name, file in known["files"].items())
        return whole and known["entry"] == as_fetched(asset, folder).model_dump(mode="json")
    except (OSError, ValueError, KeyError):
        return False


def as_fetched(asset: Asset, folder: Path) -> Asset:
    """Return `asset` at the commit that `folder` was fetched at, where the catalogue names only a branch."""
    source = asset.source
    if not isinstance(source, HubSource) or source.pinned:
        return asset
    try:
        known = read_json(folder / "asset.json")["entry"]["source"]
        return at_commit(asset, known["revision"]) if known["repo"] == source.repo else asset
    except (OSError, ValueError, KeyError):
        return asset


def at_commit(asset: Asset, commit: str) -> Asset:
    """Return `asset` with the revision of its hub repository replaced."""
    source = asset.source.model_copy(update={"revision": commit})
    return asset.model_copy(update={"source": source})


def read_text(path: Path) -> str:
    """Read a UTF-8 file, through gzip where its name ends in `.gz`."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise HfpruneError(f"{path}: cannot be read as text: {error}; is it damaged?") from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, without their ends."""
    # Not `splitlines`, which also breaks at U+0085, U+2028 and other characters found inside web text.
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; blank lines are skipped."""
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise HfpruneError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise HfpruneError(f"{path}: line {number} is not a JSON object")
        records.append(record)
    return records


def read_table(path: Path) -> pa.Table:
    """Read a `.parquet` file, or an `.arrow` file in either of its two layouts, without schema metadata."""
    try:
        table = parquet.read_table(path) if path.suffix == ".parquet" else _read_arrow(path)
    except pa.ArrowInvalid as error:
        raise HfpruneError(f"{path}: not a valid {path.suffix} file; fetch or copy it again") from error
    # The metadata describes the columns to the version of `datasets` that wrote it, which others may not read.
    return table.replace_schema_metadata(None)


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
