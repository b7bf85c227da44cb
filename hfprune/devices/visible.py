"""The GPUs of this machine, found without torch, whose import takes seconds."""

import ctypes
import json
import os
import runpy
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hfprune.errors import HfpruneError


class Gpu(NamedTuple):
    """A GPU, or a MIG slice of one, as the driver reports it."""

    name: str
    memory: float
    """Bytes."""
    uuid: str
    """`GPU-…`, or `MIG-…` for a slice: the same in every process, and valid in CUDA_VISIBLE_DEVICES."""


def visible_gpus() -> int:
    """Return the number of GPUs under CUDA_VISIBLE_DEVICES; see `visible_devices`."""
    return len(visible_devices())


def visible_devices() -> list[Gpu]:
    """Return every GPU that the driver reports under CUDA_VISIBLE_DEVICES.

    Raises:
        HfpruneError: torch cannot use the GPUs; names the remedy.
    """
    return _visible(os.environ.get("CUDA_VISIBLE_DEVICES"))


@cache
def _visible(_named: str | None) -> list[Gpu]:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    # -S: the program needs the standard library only.
    program = [sys.executable, "-S", str(Path(__file__).with_name("driver.py"))]
    version, gpus = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    if gpus and version:
        _require_torch(gpus[0][0], f"{version // 1000}.{version % 1000 // 10}")
    return [Gpu(*gpu) for gpu in gpus]


def _require_torch(gpu: str, driver: str) -> None:
    """Fail unless torch was built for a CUDA version that the driver runs: any up to its own major version."""
    imported, spec = sys.modules.get("torch.version"), find_spec("torch")  # without importing it
    file = Path(str(spec and spec.origin)).with_name("version.py")
    about = vars(imported) if imported else runpy.run_path(str(file))
    cuda, name = about["cuda"], f"torch {about['__version__']}"
    if cuda is None:
        remedy = f"{name} is made for CPUs: install one for CUDA {driver}"
    elif float(cuda.partition(".")[0]) > float(driver.partition(".")[0]):
        remedy = (
            f"{name} needs CUDA {cuda} and the driver has {driver}: update the driver, or take a torch for it"
        )
    else:
        return
    raise HfpruneError(
        f"there is a GPU ({gpu}), but {remedy} (https://pytorch.org/get-started/locally); "
        "or hide the GPU with CUDA_VISIBLE_DEVICES= to compute on the processor"
    )
