"""Builds the simulated GPU, and calls the command line on it and on the CPU, each in a process of its own."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import forked
import torch
import torchgen
from filelock import FileLock

SOURCES = Path(__file__).with_name("simcuda")
TORCH = Path(torch.__file__).parent


class CannotSimulateError(Exception):
    """There is no C++ compiler, or torch is made for real GPUs; says so."""


def build() -> Path:
    """Return the folder of the simulator for this torch; it compiles once for each, in a minute.

    Raises:
        CannotSimulateError: says why there is none.
    """
    if torch.version.cuda or not sys.platform.startswith("linux"):
        raise CannotSimulateError("the simulated GPU needs Linux and a torch that is made for CPUs")
    files = sorted(SOURCES.iterdir())
    about = [
        torch.__version__,
        str(TORCH),
        sys.version,
        *(path.read_text() for path in files if path.is_file()),
    ]
    name = hashlib.sha256("\0".join(about).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hfprune-simcuda"
    if not os.access(cache.parent if cache.parent.exists() else Path.home(), os.W_OK):
        cache = Path(tempfile.gettempdir()) / f"hfprune-simcuda-{os.getuid()}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not (cache / name).exists():
            if missing := [tool for tool in ("gcc", "g++") if not shutil.which(tool)]:
                raise CannotSimulateError(f"the simulated GPU needs {missing[0]}: apt-get install g++")
            folder = Path(tempfile.mkdtemp(dir=cache))
            _compile(folder)
            folder.rename(cache / name)
    return cache / name


def _compile(folder: Path) -> None:
    for path in SOURCES.glob("*.py"):
        shutil.copy(path, folder)
    (folder / "unchecked.json").write_text(json.dumps(_unchecked()))
    driver = ["gcc", "-O1", "-shared", "-fPIC", SOURCES / "libcuda.c", "-o"]
    subprocess.run([*driver, folder / "libcuda.so.1", "-Wl,-soname,libcuda.so.1"], check=True)
    # The same under another name has a memory of its own.
    subprocess.run([*driver, folder / "libcount.so"], check=True)
    library = ["-O1", "-std=c++20", "-shared", "-fPIC", "-w", "-DTORCH_EXTENSION_NAME=simcuda_c"]
    library += ["-DTORCH_API_INCLUDE_EXTENSION_H"]
    places = [TORCH / "include", TORCH / "include/torch/csrc/api/include", sysconfig.get_path("include")]
    library += [f"-I{place}" for place in places]
    linked = [f"-L{folder}", "-l:libcuda.so.1", f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch"]
    linked += ["-ltorch_python", f"-Wl,-rpath,{TORCH / 'lib'}", "-Wl,-rpath,$ORIGIN"]
    out = ["-o", folder / "simcuda_c.so"]
    subprocess.run(["g++", *library, SOURCES / "simcuda.cpp", *out, *linked], check=True)


def _unchecked() -> dict[str, str]:
    """Return the operators whose devices are checked by TensorIterator ('T') or by nobody ('N')."""
    text = (Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml").read_text()
    found = {}
    for block in re.split(r"^- func: ", text, flags=re.M)[1:]:
        if "device_check: NoCheck" in block:
            iterates = re.search(r"device_check: NoCheck\s*# .*TensorIterator", block)
            found["aten::" + block.split("(")[0]] = "T" if iterates else "N"
    return found


class Call(NamedTuple):
    """What a command has done."""

    code: int
    said: str
    """Its standard error."""
    reports: list[dict[str, Any]]
    """What each of its processes did on the GPUs; none on the CPU."""

    def total(self, name: str) -> int:
        """Return a count over all processes."""
        return sum(report.get(name, 0) for report in self.reports)

    @property
    def contexts(self) -> set[int]:
        """The GPUs that the command has opened."""
        return {number for report in self.reports for number in report["contexts"]}


@dataclass
class Machine:
    """A machine with simulated GPUs, or with none."""

    folder: Path | None
    """The built simulator; None: a machine without GPUs."""
    home: Path
    """A folder for the locks of its GPUs."""
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        root = str(Path(__file__).parents[2])
        found = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        found |= {"HFPRUNE_LOCKS": str(self.home), "HFPRUNE_LEASED": "", "HF_HUB_OFFLINE": "1"}
        if self.folder:
            found["PYTHONPATH"] = f"{self.folder}{os.pathsep}{root}"
            found["LD_LIBRARY_PATH"] = str(self.folder)
            found.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            found["CUDA_VISIBLE_DEVICES"] = ""
        self.environment = found

    @cached_property
    def address(self) -> Path:
        """The socket of the process that forks the commands."""
        return forked.start(self.environment)

    def call(self, *arguments: object, here: Path, check: bool = True, **more: str) -> Call:
        """Run a command in the folder `here`, with more environment variables."""
        report = Path(tempfile.mkstemp(dir=self.home, suffix=".jsonl")[1])
        environment = self.environment | {"SIMCUDA_REPORT": str(report)} | more
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
            streams = [0, out.fileno(), said.fileno()]
            code = forked.call(self.address, [*map(str, arguments)], here, environment, streams)
            said.seek(0)
            text = said.read()
        assert not check or code == 0, text[-3000:]
        reports = [json.loads(line) for line in report.read_text().splitlines()]
        return Call(code, text, reports)

    def python(self, code: str, *arguments: object, here: Path, **more: str) -> str:
        """Run a program in a process of its own, and return what it prints."""
        command = [sys.executable, "-c", code, *map(str, arguments)]
        run = {"cwd": here, "env": self.environment | more, "text": True}
        return subprocess.run(command, **run, stdout=subprocess.PIPE, check=True).stdout
