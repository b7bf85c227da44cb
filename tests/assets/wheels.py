"""Small wheels, and a folder that is all of PyPI to pip."""

import os
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest


def build_wheel(folder: Path, members: dict[str, str] | dict[str, bytes], package: str = "some_data") -> Path:
    """Write version 1.0 of a package that needs an impossible Python and a package that does not exist."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{package}-1.0-py3-none-any.whl"
    about = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Python: <3\n"
    members = members | {
        f"{package}/__init__.py": "raise SystemExit('a wheel must never be imported')\n",
        f"{package}-1.0.dist-info/METADATA": about + "Requires-Dist: no-such-package\n",
        f"{package}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{package}-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def pin(wheel: Path, member: str, package: str = "Some.Data") -> dict:
    data = wheel.read_bytes()
    about = {"package": package, "version": "1.0", "member": member}
    return about | {"sha256": sha256(data).hexdigest(), "bytes": len(data)}


def only_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder
