"""The origin of a file: versions, hashes, seeds, hardware, cost."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import hfprune
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file, read_json, sha256
from hfprune.runs import Provenance, Stopwatch, hardware

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = ("torch", "transformers", "lm_eval", "datasets", "safetensors", "numpy", "peft")

# Roles of inputs that are files of code, recorded because git does not know a file that a user has just added.
CODE = ("criterion", "measure")


def provenance(watch: Stopwatch, inputs: dict[str, Path] | None = None, **settings: object) -> Provenance:
    """Describe the run that is about to write a result.

    Args:
        watch: started when the work began.
        inputs: role → input file or folder; see `identity`.
        settings: all settings of the run, seeds included; must be JSON-serialisable.
    """
    return origin(inputs or {}, settings) | {
        "git": _git_commit(),
        "hardware": hardware(),
        "started": watch.started.isoformat(timespec="seconds"),
        "cost": watch.cost() | {"cpu_seconds": watch.cpu_seconds()},
    }


def origin(inputs: Mapping[str, Path], settings: Mapping[str, object]) -> Provenance:
    """Return what a result depends on: versions, the identity of each input by role, and settings."""
    return {
        "hfprune": hfprune.__version__,
        "packages": {"python": platform.python_version(), **_package_versions()},
        "inputs": {role: identity(path) for role, path in inputs.items()},
        "settings": {**settings},
    }


def stable(run: Provenance) -> Provenance:
    """Return the part that depends on inputs, settings and version alone, for files known by their hash.

    A criterion or measure is identified by its `version`, which is among the settings, not by its file: an edited
    comment gives the same scores, and must give the same hash.
    """
    inputs = {role: digest for role, digest in run["inputs"].items() if role not in CODE}
    return {"hfprune": run["hfprune"], "inputs": inputs, "settings": run["settings"]}


def save_tensors(
    path: Path, tensors: "dict[str, Tensor]", run: Provenance | None = None, **more: str
) -> None:
    """Write tensors atomically as safetensors, with their provenance (see `recorded`) and `more` as metadata."""
    from safetensors.torch import save_file

    about = ({} if run is None else {"provenance": json.dumps(run)}) | more
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, about)
        if len(about) > 1:
            _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file by key, since `save_file` writes several keys in random order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))


def metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty if it has none.

    Raises:
        HfpruneError: the file is truncated, damaged or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    text = f"{path}: truncated, damaged or no safetensors file ({REASON}); make it again"
    with explained(text, SafetensorError), safe_open(path, "np") as file:
        return file.metadata() or {}


def recorded(path: Path) -> Provenance:
    """Return the provenance in the metadata of a safetensors file (blocks, scores, a plan); empty without one."""
    return json.loads(metadata(path).get("provenance", "{}"))


def unfinished(path: Path | None, identity: str) -> dict[str, str]:
    """Return the metadata of the file that a killed run of this identity saved; empty if there is none."""
    about = metadata(path) if path and path.exists() else {}
    return about if about.get("identity") == identity else {}


def fingerprint(inputs: Mapping[str, Path], settings: Mapping[str, object]) -> str:
    """Return a SHA-256 that two runs share only if they have the same inputs, code, settings and version."""
    run = origin(inputs, settings)
    del run["packages"]
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


def is_current(
    record: Path, outputs: Iterable[Path], inputs: Mapping[str, Path], settings: Mapping[str, object]
) -> bool:
    """Tell whether outputs exist and were made from these inputs with these settings by this version.

    The JSON file `record` holds the outputs' `provenance` and is written after them. See `stable`.
    """
    if not (record.exists() and all(path.exists() for path in outputs)):
        return False
    try:
        return _compared(read_json(record)["provenance"]) == _compared(origin(inputs, settings))
    except (ValueError, KeyError, TypeError):
        return False


def is_recorded(path: Path, inputs: Mapping[str, Path], settings: Mapping[str, object]) -> bool:
    """Tell whether a safetensors file exists and was made from these inputs and settings by this version."""
    with suppress(Exception):  # whatever another kind of file raises
        return recorded(path) == json.loads(json.dumps(stable(origin(inputs, settings))))
    return False


def _compared(run: Provenance) -> object:
    """Return the part of a provenance that decides whether a result is current, as JSON would store it."""
    return json.loads(json.dumps([stable(run), run["packages"].get("lm_eval")]))


def identity(path: Path) -> str:
    """Return a SHA-256 of an input: a file, a folder's `asset.json` (with hashes), or a folder's files."""
    if not path.is_dir():
        return sha256(path)
    if (path / "asset.json").exists():
        return sha256(path / "asset.json")
    files = sorted(file for file in path.iterdir() if file.is_file())
    parts = [(file.name, _known_sha256(file, file.stat().st_size, file.stat().st_mtime_ns)) for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_origin(
    path: Path, origins: Mapping[str, str], roles: Iterable[str], inputs: Mapping[str, Path]
) -> None:
    """Fail if a recovery was made from other inputs (`origins`): another plan can have the same shapes.

    Raises:
        HfpruneError: the identities of a role differ.
    """
    for role in roles:
        now = identity(inputs[role]) if role in inputs else None
        if origins.get(role) != now:
            wanted = f"another {role}" if role in origins else f"the model without a {role}"
            raise HfpruneError(f"{path}: this recovery was made for {wanted}; give that one")


@cache
def _known_sha256(path: Path, _size: int, _modified: int) -> str:
    """Return the hash of a file, which may have gigabytes; an unchanged file is read once."""
    return sha256(path)


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _git_commit() -> str | None:
    """Return the commit of this package's checkout, followed by `+changes` if the work tree differs."""
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():  # installed, perhaps into another project's checkout
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
