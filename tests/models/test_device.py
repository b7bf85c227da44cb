import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hfprune.models import device
from hfprune.models.device import default_device, lease, lease_all

NAMES = ["GPU-a", "GPU-b"]
CONTEXT = multiprocessing.get_context("fork")


def work(folder: Path, pipe: Connection) -> None:
    """Lease one of two devices, tell which, and hold it until the other end says something."""
    device.POLL_SECONDS = 0.02
    pipe.send(lease(NAMES, folder))
    pipe.recv()


def start(folder: Path) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(folder, theirs), daemon=True)
    process.start()
    return process, mine


def test_processes_get_a_device_each_and_the_next_waits_for_one_to_end(tmp_path: Path, capfd) -> None:
    workers = [start(tmp_path) for _ in NAMES]
    taken = [pipe.recv() for _, pipe in workers]
    assert sorted(taken) == [0, 1]
    _, waiting = start(tmp_path)
    assert not waiting.poll(0.5)
    assert capfd.readouterr().err.count("all 2 GPUs are taken") == 1
    process, _ = workers[1]
    os.kill(process.pid, signal.SIGKILL)
    assert waiting.poll(20), "a killed process gives its device back"
    assert waiting.recv() == taken[1]


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Three CUDA devices, u0 to u2, with locks of this test's own; those that become the current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"u{index}"))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_default_device_is_a_cuda_device_that_nobody_holds(
    tmp_path: Path, current: list[torch.device]
) -> None:
    folder = tmp_path / f"hfprune-devices-{os.getuid()}"
    # Another process sees these two devices as its only ones, in the other order.
    assert [lease(["u1", "u0"], folder), lease(["u1", "u0"], folder)] == [0, 1]
    assert default_device.__wrapped__() == torch.device("cuda", 2)
    assert current == [torch.device("cuda", 2)]


def test_a_device_map_leases_all_devices_and_waits_for_those_of_others(
    tmp_path: Path, current: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, held = tmp_path / f"hfprune-devices-{os.getuid()}", []
    monkeypatch.setattr(device, "_held", held)
    monkeypatch.setattr(device, "POLL_SECONDS", 0.02)

    def other(pipe: Connection) -> None:
        pipe.send(lease(["u1"], folder))
        pipe.recv()

    mine, theirs = CONTEXT.Pipe()
    CONTEXT.Process(target=other, args=(theirs,), daemon=True).start()
    mine.recv()
    waited, sleep = [], time.sleep

    def waiting(seconds: float) -> None:
        if not waited:
            mine.send("end")
        waited.append([Path(lock.lock_file).stem for lock in held])
        sleep(seconds)

    monkeypatch.setattr(device.time, "sleep", waiting)
    lease_all()
    assert waited[0] == ["u0"] and len(held) == 3, "it waits for u1"
    lease_all()
    assert default_device.__wrapped__() == torch.device("cuda", 0)
    assert len(held) == 3, "a process does not wait for itself"


def test_default_device_without_cuda_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device.__wrapped__() == torch.device("cpu")
