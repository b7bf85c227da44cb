"""The pace of a CPU: what was measured is what the device then predicts."""

from dataclasses import replace

import pytest

from hfprune.cost import pace as module
from hfprune.cost.pace import CONFIG, LENGTH, SEQUENCES, pace
from hfprune.cost.speed import Pace, seconds
from hfprune.criteria.entropy import Entropy
from hfprune.devices.table import Device, known_devices
from hfprune.evaluation.work import Case, Work
from hfprune.models.shape import Shape
from hfprune.recovery.settings import Lora


@pytest.fixture
def cpu() -> Device:
    return known_devices()["cpu"]


def test_a_device_with_its_pace_takes_the_measured_time(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    timings = iter((0.25, 3.0))
    monkeypatch.setattr(module, "_seconds", lambda passes: passes() or next(timings))
    paced = replace(cpu, pace={"float32": pace(cpu, "float32")})
    case = Case(Shape.of_config(CONFIG), "float32", on_gpu=False, room=cpu.memory)
    # A call of the interpreter takes its own time; the pace is that of the rest.
    calls = replace(cpu, pace={"float32": Pace(0, 0)})
    for work, measured in (
        (case.read(SEQUENCES, LENGTH, 0), 0.25),
        (case.score({"entropy": Entropy()}, SEQUENCES, LENGTH, ["neurons"]), 3.0),
    ):
        fixed = seconds(calls, work, "float32")
        found = seconds(paced, work, "float32")
        expected = fixed + (measured / seconds(cpu, work, "float32")) * (
            seconds(cpu, work, "float32") - fixed
        )
        assert found == pytest.approx(expected)
        assert found == pytest.approx(measured, rel=0.1)


def test_passes_without_a_backward_part_have_the_forward_pace(cpu: Device) -> None:
    assert Pace(2, 5).of(Work(flops=8)) == Pace(2, 5).of(Work(moved=1)) == 2
    assert Pace(2, 5).of(Work(flops=8, backward=8)) == 5
    assert Pace(2, 5).of(Work(flops=8, backward=2) * 3 + Work(flops=8, backward=2)) == 2 + 0.25 * 3


def test_a_third_of_training_is_forward(cpu: Device) -> None:
    """Frozen weights cost a product forward and one back, adapters one and two, attention one and two."""
    case = Case(Shape.of_config(CONFIG), "float32", on_gpu=False, room=cpu.memory)
    work = case.train(Lora(length=LENGTH, batch=2, rank=1), SEQUENCES)
    assert 1 / 2 < work.backward / work.flops < 2 / 3
