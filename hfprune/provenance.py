"""What made a file: versions, hashes, seeds, hardware, cost."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hfprune
from hfprune.files import read_json, sha256

PACKAGES = ("torch", "transformers", "lm_eval", "datasets", "safetensors", "numpy", "peft")


class Stopwatch:
    """Measures wall seconds and peak memory from its creation on.

    Peak memory is what the CUDA allocator handed out at most, or on a CPU the resident high-water mark of the
    whole process, weights and libraries included.
    """

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = time.perf_counter()
        if _cuda():
            import torch

            torch.cuda.reset_peak_memory_stats()

    def cost(self) -> dict[str, float]:
        """Return `seconds` and `peak_memory_bytes` so far."""
        if _cuda():
            import torch

            torch.cuda.synchronize()
            peak = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return {"seconds": time.perf_counter() - self._start, "peak_memory_bytes": float(peak)}


def provenance(watch: Stopwatch, inputs: dict[str, Path] | None = None, **settings: Any) -> dict[str, Any]:
    """Describe the run that is about to write a result.

    Args:
        watch: started when the work began.
        inputs: role → file or folder that went in; see `identity`.
        settings: everything that configured the run, seeds included; must be JSON-serialisable.
    """
    return {
        "hfprune": hfprune.__version__,
        "git": _git_commit(),
        "packages": {"python": platform.python_version(), **_package_versions()},
        "hardware": hardware(),
        "started": watch.started.isoformat(timespec="seconds"),
        "cost": watch.cost(),
        "inputs": {role: identity(path) for role, path in (inputs or {}).items()},
        "settings": settings,
    }


def stable(made: dict[str, Any]) -> dict[str, Any]:
    """Return what the same inputs and settings make the same, for files whose hash identifies them."""
    return {key: made[key] for key in ("hfprune", "inputs", "settings")}


def fingerprint(inputs: dict[str, Path], settings: dict[str, Any]) -> str:
    """Return a SHA-256 that two runs share only if they have the same inputs, settings and version."""
    known = [hfprune.__version__, {role: identity(path) for role, path in inputs.items()}, settings]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def is_current(path: Path, inputs: dict[str, Path], settings: dict[str, Any]) -> bool:
    """Tell whether the result at `path` was made from these inputs with these settings by this version."""
    if not path.exists():
        return False
    now = {role: identity(file) for role, file in inputs.items()}
    try:
        made = read_json(path)["provenance"]
        then = (made["inputs"], made["settings"], made["hfprune"], made["packages"]["lm_eval"])
    except (ValueError, KeyError, TypeError):
        return False
    return then == (now, settings, hfprune.__version__, version("lm_eval"))


def identity(path: Path) -> str:
    """Return a SHA-256 for an input: of the file, of a folder's `asset.json`, which has hashes, or its files."""
    if not path.is_dir():
        return sha256(path)
    if (path / "asset.json").exists():
        return sha256(path / "asset.json")
    files = sorted(file for file in path.iterdir() if file.is_file())
    parts = [(file.name, _known_sha256(file, file.stat().st_size, file.stat().st_mtime_ns)) for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _known_sha256(path: Path, _size: int, _modified: int) -> str:
    """Return the hash of a file, which may be gigabytes, reading it once as long as it stays the same."""
    return sha256(path)


def hardware() -> dict[str, Any]:
    """Return the processor, thread count and, where there are any, the CUDA devices."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    if "torch" in sys.modules:
        import torch

        found["threads"] = torch.get_num_threads()
        found["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def _cuda() -> bool:
    """Tell whether CUDA is in use, without importing torch for a run that never did."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """Return the commit of this package's checkout, with `+changes` where the tree differs from it."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
