"""What the driver says of the GPUs, with a driver that is written here, and a torch that cannot use them."""

import ctypes
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from hfprune.devices import driver, visible
from hfprune.devices.visible import Gpu, visible_devices, visible_gpus
from hfprune.errors import HfpruneError
from hfprune.runs import Stopwatch, hardware

UUID = "00112233-4455-6677-8899-aabbccddeeff"
CARD, SLICE = "NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"


def cuda(gpus: list[tuple[str, int]], version: int = 12040) -> SimpleNamespace:
    def say(value):
        def to(pointer, *_) -> int:
            pointer._obj.value = value
            return 0

        return to

    return SimpleNamespace(
        cuInit=lambda _: 0 if gpus else 100,
        cuDriverGetVersion=say(version),
        cuDeviceGetCount=say(len(gpus)),
        cuDeviceGet=lambda pointer, index: say(index)(pointer),
        cuDeviceGetName=lambda buffer, _size, at: setattr(buffer, "value", gpus[at.value][0].encode()),
        cuDeviceTotalMem_v2=lambda pointer, at: say(gpus[at.value][1])(pointer),
        cuDeviceGetUuid_v2=lambda buffer, _at: setattr(buffer, "raw", bytes.fromhex(UUID.replace("-", ""))),
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, capsys):
    def make(gpus: list[tuple[str, int]], made: str | None, version: int = 12040) -> None:
        monkeypatch.setattr(ctypes, "CDLL", lambda _: cuda(gpus, version))

        def ask(_command, **_options) -> SimpleNamespace:
            driver.main()
            return SimpleNamespace(stdout=capsys.readouterr().out)

        monkeypatch.setattr(subprocess, "run", ask)
        monkeypatch.setattr(torch.version, "cuda", made)

    visible._visible.cache_clear()
    yield make
    visible._visible.cache_clear()


def test_a_slice_counts_by_its_own_memory_and_its_own_name(machine) -> None:
    """A machine without GPUs asks nothing of torch."""
    machine([], None)
    assert visible_gpus() == 0
    visible._visible.cache_clear()
    machine([(CARD, 85_000_000_000), (SLICE, 10_000_000_000)], "12.8")
    assert visible_devices() == [
        Gpu(CARD, 85_000_000_000, f"GPU-{UUID}"),
        Gpu(SLICE, 10_000_000_000, f"MIG-{UUID}"),
    ]


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        (None, "is made for CPUs: install one for CUDA 12.4"),
        ("13.0", "needs CUDA 13.0 and the driver has 12.4: update the driver"),
    ],
)
@pytest.mark.parametrize("imported", [True, False])
def test_a_torch_that_cannot_use_the_gpu_ends_in_the_remedy(
    machine, monkeypatch, tmp_path, made: str | None, remedy: str, imported: bool
) -> None:
    """A run on the CPU would take days without a word."""
    machine([(CARD, 85_000_000_000)], made)
    if not imported:
        (tmp_path / "version.py").write_text(f"cuda, __version__ = {made!r}, '2.13.0'")
        monkeypatch.delitem(sys.modules, "torch.version")
        found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(visible, "find_spec", lambda _: found)
    with pytest.raises(HfpruneError, match=remedy) as error:
        visible_gpus()
    assert "CUDA_VISIBLE_DEVICES= to compute on the processor" in str(error.value)


def test_the_driver_is_asked_in_a_process_of_its_own() -> None:
    """Where there is no driver the program fails, and nobody runs it."""
    run = subprocess.run([sys.executable, "-S", driver.__file__], capture_output=True, text=True, check=False)
    assert "libcuda.so.1" in run.stderr if run.returncode else json.loads(run.stdout)


def test_a_watch_and_a_record_do_not_start_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA reads CUDA_VISIBLE_DEVICES when it starts: before a lease it would open every GPU."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("is_available", "device_count", "synchronize", "get_device_name"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: pytest.fail(f"{name} starts CUDA"))
    Stopwatch().cost()
    assert hardware()["cuda"] == []
