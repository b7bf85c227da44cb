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
    """`GPU-…`, of a slice `MIG-…`: the same in every process, and what CUDA_VISIBLE_DEVICES takes."""


def visible_gpus() -> int:
    """Return the number of GPUs under CUDA_VISIBLE_DEVICES; see `visible_devices`."""
    return len(visible_devices())


def visible_devices() -> list[Gpu]:
    """Return every GPU that the driver reports under CUDA_VISIBLE_DEVICES.

    Raises:
        HfpruneError: there are some, but torch cannot use them; names the remedy.
    """
    return _visible(os.environ.get("CUDA_VISIBLE_DEVICES"))


@cache
def _visible(_named: str | None) -> list[Gpu]:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    # -S: it needs the standard library only.
    program = [sys.executable, "-S", str(Path(__file__).with_name("driver.py"))]
    version, found = json.loads(subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout)
    if found and version:
        _require_torch(found[0][0], f"{version // 1000}.{version % 1000 // 10}")
    return [Gpu(*gpu) for gpu in found]


def _require_torch(gpu: str, driver: str) -> None:
    """Fail unless torch is made for a CUDA that the driver has; it runs what is made for its own major version."""
    imported, spec = sys.modules.get("torch.version"), find_spec("torch")  # which does not import it
    file = Path(str(spec and spec.origin)).with_name("version.py")
    about = vars(imported) if imported else runpy.run_path(str(file))
    made, name = about["cuda"], f"torch {about['__version__']}"
    if made is None:
        remedy = f"{name} is made for CPUs: install one for CUDA {driver}"
    elif float(made.partition(".")[0]) > float(driver.partition(".")[0]):
        remedy = (
            f"{name} needs CUDA {made} and the driver has {driver}: update the driver, or take a torch for it"
        )
    else:
        return
    raise HfpruneError(
        f"there is a GPU ({gpu}), but {remedy} (https://pytorch.org/get-started/locally); "
        "or hide the GPU with CUDA_VISIBLE_DEVICES= to compute on the processor"
    )
