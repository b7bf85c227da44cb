import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hfprune.models import device
from hfprune.models.device import default_device, lease

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


def test_default_device_is_a_cuda_device_that_nobody_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = []
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"u{index}"))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    folder = tmp_path / f"hfprune-devices-{os.getuid()}"
    # Another process sees these two devices as its only ones, in the other order.
    assert [lease(["u1", "u0"], folder), lease(["u1", "u0"], folder)] == [0, 1]
    assert default_device.__wrapped__() == torch.device("cuda", 2)
    assert current == [torch.device("cuda", 2)]


def test_default_device_without_cuda_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device.__wrapped__() == torch.device("cpu")
