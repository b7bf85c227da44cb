import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hfprune.devices import lease as device
from hfprune.devices.lease import default_device, lease, lease_all
from hfprune.devices.visible import Gpu

CONTEXT, SLEEP = multiprocessing.get_context("fork"), time.sleep


@pytest.fixture(autouse=True)
def _nothing_is_leased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(device.LEASED, "")
    monkeypatch.setenv(device.LOCKS, str(tmp_path))
    yield
    # A fork that stays holds all pipes of this process, so that a browser which it has started never ends.
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def work(names: list[str], pipe: Connection) -> None:
    """Lease one of these devices, tell which, and hold it until the other end says something."""
    device.POLL_SECONDS = 0.02
    pipe.send(lease(names))
    pipe.recv()


def start(*names: str) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=([*names], theirs), daemon=True)
    process.start()
    return process, mine


def test_processes_get_a_device_each_and_the_next_waits_for_one_to_end(capfd) -> None:
    workers = [start("GPU-a", "GPU-b") for _ in range(2)]
    taken = [pipe.recv() for _, pipe in workers]
    assert sorted(taken) == [0, 1]
    _, waiting = start("GPU-a", "GPU-b")
    assert not waiting.poll(0.5)
    assert capfd.readouterr().err.count("all 2 GPUs are taken") == 1
    process, _ = workers[1]
    os.kill(process.pid, signal.SIGKILL)
    assert waiting.poll(20), "a killed process gives its device back"
    assert waiting.recv() == taken[1]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the CUDA devices u0, u1 and u2."""

    def visible() -> list[Gpu]:
        return [Gpu("GPU", 8e9, name) for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "u0,u1,u2")
    monkeypatch.setattr(device, "visible_devices", visible)
    monkeypatch.setattr(device, "visible_gpus", lambda: len(visible()))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(visible()))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=visible()[index].uuid)
    )
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)


def elsewhere(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let another process hold these devices: this one has their locks, but does not know."""
    for name in names:
        assert lease([name]) == 0
    monkeypatch.setenv(device.LEASED, "")


@pytest.mark.parametrize("started", [False, True])
def test_a_process_sees_the_device_that_it_leases_and_no_other(
    three: None, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    """CUDA numbers what it sees, so that whatever opens the first device opens the leased one.

    Where CUDA has started, that device keeps its number.
    """
    elsewhere(monkeypatch, "u0")
    if started:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=f"u{i}"))
    assert default_device.__wrapped__() == torch.device("cuda", int(started))
    assert started or os.environ["CUDA_VISIBLE_DEVICES"] == "u1"
    assert os.environ[device.LEASED] == "u1"


def test_a_process_computes_on_the_device_of_the_one_that_started_it(
    three: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that holds the only GPU and starts a command would else wait for ever."""
    elsewhere(monkeypatch, "u0", "u1", "u2")
    monkeypatch.setattr(device.time, "sleep", lambda _: pytest.fail("it waits"))
    monkeypatch.setenv(device.LEASED, "u2")
    assert default_device.__wrapped__() == torch.device("cuda", 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "u2"


def test_a_device_map_leases_all_devices_and_waits_for_those_of_others(
    three: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list = []
    monkeypatch.setattr(device, "_held", held)
    _, other = start("u1")
    other.recv()
    waited: list[list[str]] = []

    def waiting(_seconds: float) -> None:
        if not waited:
            other.send("end")
        waited.append([Path(lock.lock_file).stem for lock in held])
        SLEEP(0.02)

    monkeypatch.setattr(device.time, "sleep", waiting)
    lease_all()
    assert waited[0] == ["u0"] and len(held) == 3, "it waits for u1"
    lease_all()
    assert default_device.__wrapped__() == torch.device("cuda", 0)
    assert len(held) == 3, "a process does not wait for itself"


def test_default_device_without_a_gpu_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "visible_gpus", lambda: 0)
    assert default_device.__wrapped__() == torch.device("cpu")
