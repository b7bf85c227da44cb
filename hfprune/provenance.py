"""The origin of a file: versions, hashes, seeds, hardware, cost."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hfprune
from hfprune.errors import REASON, HfpruneError, explained
from hfprune.files import atomic_file, read_json, sha256

PACKAGES = ("torch", "transformers", "lm_eval", "datasets", "safetensors", "numpy", "peft")

# Roles of inputs that are files of code, recorded because git does not know a file that a user has just added.
CODE = ("criterion", "measure")


class Stopwatch:
    """Measures wall time and peak memory since its creation, but for the time between `pause` and `resume`.

    Peak memory is the maximum that the CUDA allocator handed out, or on a CPU the peak resident memory of the
    whole process, weights and libraries included.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self.started = datetime.now(UTC)
        self._start, self._busy = _now()
        self._peak = 0.0
        _forget_peak()
        if paused:
            self.pause()

    def pause(self) -> None:
        """Leave out what follows, time and memory, until `resume`."""
        self._peak = max(self._peak, _peak_memory())
        self._paused = _now()

    def resume(self) -> None:
        """Count again, after `pause`."""
        for name, now, then in zip(("_start", "_busy"), _now(), self._paused, strict=True):
            setattr(self, name, getattr(self, name) + now - then)
        _forget_peak()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all threads of this process, without those of pauses."""
        return time.process_time() - self._busy

    def cost(self) -> dict[str, float]:
        """Return wall `seconds` and `peak_memory_bytes`, without those of pauses."""
        peak = max(self._peak, _peak_memory())
        return {"seconds": time.perf_counter() - self._start, "peak_memory_bytes": peak}


def _now() -> tuple[float, float]:
    if _cuda():
        import torch

        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _forget_peak() -> None:
    """Let the peak begin anew: of CUDA's memory, or of the process where the system can (Linux)."""
    if _cuda():
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> float:
    if _cuda():
        import torch

        torch.cuda.synchronize()
        return float(sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def provenance(watch: Stopwatch, inputs: dict[str, Path] | None = None, **settings: Any) -> dict[str, Any]:
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


def origin(inputs: dict[str, Path], settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a result depends on: versions, the identity of each input by role, and settings."""
    return {
        "hfprune": hfprune.__version__,
        "packages": {"python": platform.python_version(), **_package_versions()},
        "inputs": {role: identity(path) for role, path in inputs.items()},
        "settings": settings,
    }


def stable(made: dict[str, Any]) -> dict[str, Any]:
    """Return the part that depends on inputs, settings and version alone, for files known by their hash."""
    return {key: made[key] for key in ("hfprune", "inputs", "settings")}


def save_tensors(
    path: Path, tensors: dict[str, Any], made: dict[str, Any] | None = None, **more: str
) -> None:
    """Write tensors atomically as safetensors; their provenance, for `recorded`, and more go to its metadata."""
    from safetensors.torch import save_file

    with atomic_file(path) as temporary:
        save_file(tensors, temporary, ({} if made is None else {"provenance": json.dumps(made)}) | more)


def metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty if it has none.

    Raises:
        HfpruneError: the file is cut off, damaged or none of safetensors.
    """
    from safetensors import SafetensorError, safe_open

    text = f"{path}: truncated, damaged or no safetensors file ({REASON}); make it again"
    with explained(text, SafetensorError), safe_open(path, "np") as file:
        return file.metadata() or {}


def recorded(path: Path) -> dict[str, Any]:
    """Return the provenance inside a safetensors file: blocks, scores or a plan; empty where it has none."""
    return json.loads(metadata(path).get("provenance", "{}"))


def unfinished(path: Path | None, identity: str) -> dict[str, str]:
    """Return the metadata of a safetensors file that a killed run of this identity has saved; empty without."""
    about = metadata(path) if path and path.exists() else {}
    return about if about.get("identity") == identity else {}


def fingerprint(inputs: dict[str, Path], settings: dict[str, Any]) -> str:
    """Return a SHA-256 that two runs share only if they have the same inputs, settings and version."""
    known = stable(origin(inputs, settings))
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def is_current(
    record: Path, outputs: Iterable[Path], inputs: dict[str, Path], settings: dict[str, Any]
) -> bool:
    """Tell whether outputs are there, and were made from these inputs with these settings by this version.

    A criterion or measure is identified by its `version`, which is among the settings, not by its file. The JSON
    file `record` has the `provenance` of the outputs, and is written after them.
    """
    if not (record.exists() and all(path.exists() for path in outputs)):
        return False
    inputs = {role: path for role, path in inputs.items() if role not in CODE}
    try:
        return _compared(read_json(record)["provenance"]) == _compared(origin(inputs, settings))
    except (ValueError, KeyError, TypeError):
        return False


def is_recorded(path: Path, inputs: dict[str, Path], settings: dict[str, Any]) -> bool:
    """Tell whether a safetensors file is there and was made from these, by this version."""
    with suppress(Exception):  # it is something else
        return recorded(path) == json.loads(json.dumps(stable(origin(inputs, settings))))
    return False


def _compared(made: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a provenance in which a current result agrees, as JSON has it."""
    inputs = {role: known for role, known in made["inputs"].items() if role not in CODE}
    found = stable(made) | {"inputs": inputs, "lm_eval": made["packages"].get("lm_eval")}
    return json.loads(json.dumps(found))


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
    path: Path, made: Mapping[str, str], roles: Iterable[str], inputs: Mapping[str, Path]
) -> None:
    """Fail if a recovery was `made` from other inputs of these roles: another plan can have the same shapes.

    Raises:
        HfpruneError: the identities differ.
    """
    for role in roles:
        now = identity(inputs[role]) if role in inputs else None
        if made.get(role) != now:
            wanted = f"another {role}" if role in made else f"the model without a {role}"
            raise HfpruneError(f"{path}: this recovery was made for {wanted}; give that one")


@cache
def _known_sha256(path: Path, _size: int, _modified: int) -> str:
    """Return the hash of a file, which may have gigabytes; an unchanged file is read once."""
    return sha256(path)


def hardware() -> dict[str, Any]:
    """Return the machine, processor and core count and, if torch is loaded, its threads and the GPUs in use."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    if "torch" in sys.modules:
        import torch

        found["threads"] = torch.get_num_threads()
        every = range(torch.cuda.device_count()) if _cuda() else ()
        found["cuda"] = [torch.cuda.get_device_name(i) for i in every]
        if found["cuda"]:  # how far products may round beyond their dtype
            products = torch.backends.cuda.matmul
            found["tf32"] = products.allow_tf32
            found["reduced_sums"] = products.allow_bf16_reduced_precision_reduction
            # Of these, PyTorch takes the first that fits a call's shapes, dtype and mask.
            kernels = ("cudnn", "flash", "mem_efficient", "math")
            allowed = {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled") for name in kernels}
            found["attention"] = [name for name, enabled in allowed.items() if enabled()]
    return found


def _cuda() -> bool:
    """Tell whether this process uses CUDA; to ask whether it could would already start CUDA."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git_commit() -> str | None:
    """Return the commit of this package's checkout, followed by `+changes` if the work tree differs."""
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():  # installed, perhaps into another project's checkout
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
