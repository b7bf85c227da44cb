"""The rates of a CPU: what was measured is what the device then predicts, and instructions choose its speed."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hfprune.cost.here import CONFIG, LENGTH, SEQUENCES, passes_rate
from hfprune.cost.speed import seconds
from hfprune.criteria.entropy import Entropy
from hfprune.devices.table import known_devices, nominal_cpu
from hfprune.evaluation.work import Case
from hfprune.models.shape import Shape


def test_a_device_with_its_rate_takes_the_measured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = known_devices()["cpu"]
    # Each pass begins and ends: they take 9, 7, 4 and 5 seconds.
    clock = iter((0, 9, 10, 17, 20, 24, 30, 35))
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    measured = replace(cpu, rates={"float32": passes_rate(cpu, "float32")})
    case = Case(Shape.of_config(CONFIG), "float32", on_gpu=False, room=cpu.memory)
    work = case.score({"entropy": Entropy()}, SEQUENCES, LENGTH, ["neurons"])
    assert seconds(measured, work, "float32") == pytest.approx(4)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fma avx2", "cpu"),
        ("fma avx2 avx512f avx512_vnni", "cpu-avx512"),
        ("avx512f avx512_bf16", "cpu-avx512-bf16"),
        ("avx512f avx512_bf16 amx_bf16 amx_tile", "cpu-amx"),
        (None, "cpu"),
    ],
)
def test_instructions_choose_the_speed(
    flags: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags:
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags} mmx\n")
    monkeypatch.setattr("hfprune.devices.table.CPUINFO", tmp_path / "cpuinfo")
    assert nominal_cpu().rates == known_devices()[name].rates


def test_only_processors_with_instructions_compute_in_bfloat16() -> None:
    faster = {
        name
        for name, cpu in known_devices().items()
        if cpu.cores and cpu.rates["bfloat16"] > cpu.rates["float32"]
    }
    assert faster == {"cpu-avx512-bf16", "cpu-amx"}
