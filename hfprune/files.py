"""Atomic writes: a file or folder that exists is complete."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfprune.errors import HfpruneError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that replaces it when the block succeeds.

    An `OSError` about the temporary path names `path` instead.
    """
    with _about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp creates files with mode 0600; results should be shareable like any other file.
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that replaces it when the block succeeds.

    An `OSError` about the temporary folder names `path` instead.
    """
    with _about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in temporary.rglob("*"):
                _flush(file)
            # Moved away whole first: a kill must not leave half of the old folder under its name.
            old = temporary.with_name(f"{temporary.name}.old")
            if path.is_dir():
                path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def require_writable(path: Path) -> None:
    """Fail before any work if a file at `path` could not be written.

    Raises:
        OSError: nothing can be written there.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    with _about(path), tempfile.NamedTemporaryFile(dir=there, prefix=f".{path.stem}."):
        pass


def require_only(folder: Path, names: Collection[str]) -> None:
    """Fail before any work if a folder holds anything but files of these names, or is no folder.

    Raises:
        HfpruneError: it does, or it is the current folder, which cannot be replaced.
    """
    if not folder.name:
        raise HfpruneError(f"{folder}: name a folder of its own")
    if folder.exists() and not folder.is_dir():
        strange = [folder.name]
    else:
        strange = sorted({path.name for path in folder.glob("*")} - {*names})
    if strange:
        raise HfpruneError(
            f"{folder}: holds something else ({strange[0]}); choose another folder (nothing was touched)"
        )


def remove_unfinished(folder: Path, names: Collection[str]) -> None:
    """Remove the temporary files that killed runs left of files of these names (`atomic_file`)."""
    for name in map(Path, names):
        ours = re.compile(rf"\.{re.escape(name.stem)}\.[a-z0-9_]{{8}}{re.escape(name.suffix)}")
        for path in folder.glob(f".{name.stem}.*"):
            if ours.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Make an `OSError` about a temporary file beside `path`, or about no file, name `path`."""
    try:
        yield
    except OSError as error:
        hidden = error.filename is None or f".{path.stem}." in str(error.filename)
        if error.strerror is None or not hidden:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
    except Exception as error:
        # By name, since Snakemake's lint imports this without safetensors; a full disk is such an error, too.
        if type(error).__name__ != "SafetensorError":
            raise
        raise OSError(f"{path}: {error}") from error


def _flush(path: Path) -> None:
    """Wait until a file is on the disk: after a power loss, its new name must not stand for an empty file."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def share(folder: Path) -> None:
    """Give all files below a folder the permissions of the umask; some libraries write for their owner only."""
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_json(path: Path, data: Any) -> None:
    """Write `data` atomically as indented JSON; NaN and infinity are refused with `ValueError`."""
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file; a missing one is an `OSError`, a damaged one a `ValueError`."""
    return json.loads(path.read_text())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; it is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
