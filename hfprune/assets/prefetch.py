"""Checks before a fetch: the size of its downloads, and the room on the disk."""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from hfprune.assets import hub, pypi
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
from hfprune.assets.formats import as_fetched, at_commit
from hfprune.assets.models import wanted_files
from hfprune.errors import HfpruneError

# Bytes by file, so that a file which two assets share counts once. None: unknown.
Sizes = dict[str, int | None]


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
