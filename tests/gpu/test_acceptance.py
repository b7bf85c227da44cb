"""`make gpu-acceptance`, dry: everything that it runs in the first hour on a card."""

from collections.abc import Sequence
from pathlib import Path

import acceptance
import pytest
from gpu.simulator import Machine

from hfprune.devices.known import named_device

pytestmark = pytest.mark.thorough


def test_it_runs_and_compares_with_the_cpu(gpus: Machine, cpu: Machine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(acceptance, "SEQUENCES", 4)
    monkeypatch.setattr(acceptance, "LENGTH", 320)
    monkeypatch.setattr(acceptance, "STEPS", 2)

    def run(command: Sequence[str], folder: Path, on_gpu: bool) -> None:
        call = (gpus if on_gpu else cpu).call(*command, here=folder)
        assert on_gpu <= (call.contexts == {0}) or command[0] == "plan"

    device = named_device("NVIDIA H100 80GB HBM3", 85e9)
    text = acceptance.accept(tmp_path, device, ["llama-3.2-1b"], run, dry=True)
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 7 + 1 + 2 + 1 + 2
    float32 = next(row for row in rows if row[0].strip() == "float32")
    assert all(float(cell) < 1e-4 for cell in float32[1:])
