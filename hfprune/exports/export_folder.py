"""The folder of an export: written as a whole, with a list of its files; it replaces earlier exports only."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from hfprune.errors import HfpruneError, brief
from hfprune.files import atomic_directory, read_json, share, write_json
from hfprune.runs import Provenance

PROVENANCE = "provenance.json"
CARD = "README.md"


@contextmanager
def export_folder(out: Path, source: Path) -> Iterator[tuple[Path, Provenance]]:
    """Yield a temporary folder that becomes `out`, and a dictionary that becomes its `provenance.json`.

    The names and sizes of all files are added to it. Files get the permissions of the umask.

    Raises:
        HfpruneError: `out` may not be replaced (see `require_replaceable`), or writing fails.
    """
    require_replaceable(out, source)
    about: Provenance = {}
    try:
        with atomic_directory(out) as folder:
            yield folder, about
            write_json(folder / PROVENANCE, {**about, "files": _sizes(folder)})
            share(folder)
    except (SafetensorError, OSError) as error:
        # Errors of numpy and safetensors have no number.
        full = getattr(error, "errno", None) in (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "is there room on the disk?" if full else "choose another folder."
        raise HfpruneError(f"{out}: writing failed ({brief(error)}); {hint} Nothing was changed") from error


def require_replaceable(out: Path, source: Path) -> None:
    """Check that `out` is missing, empty, or an unchanged earlier export.

    Raises:
        HfpruneError: it is none of these, or it is the current folder or the dense model's.
    """
    if not out.name:
        raise HfpruneError(f"{out}: name a folder of its own")
    if not out.exists() or (out.is_dir() and not any(out.iterdir()) and out.resolve() != source.resolve()):
        return
    reason = "is the dense model" if out.resolve() == source.resolve() else _difference(out)
    if reason:
        raise HfpruneError(
            f"{out}: exists and is no earlier export ({reason}); choose another folder (nothing was touched)"
        )


def _difference(folder: Path) -> str:
    """Return how `folder` differs from the export that was written there, or ""."""
    try:
        listed = dict(read_json(folder / PROVENANCE)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it holds something else"
    there = _sizes(folder)
    del there[PROVENANCE]
    if strange := there.keys() - listed.keys():
        return f"{min(strange)} was added"
    if changed := [name for name, size in listed.items() if there.get(name) != size]:
        return f"{min(changed)} was changed"
    return ""


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
