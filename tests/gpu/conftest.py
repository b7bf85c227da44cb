"""A machine with simulated GPUs, one without, and a project whose files both read."""

import json
from pathlib import Path

import pytest
from gpu.simulator import CannotSimulateError, Machine, build
from smoke import STUDY, TEXT, save_model, write, write_requests, write_sources

UNITS = json.dumps({"neurons": None, "key_value_groups": None, "layers": None})


@pytest.fixture(scope="session")
def simulator() -> Path:
    try:
        return build()
    except CannotSimulateError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def gpus(simulator: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with one GPU of 85 GB; the variables of `simcuda.py` change that."""
    return Machine(simulator, tmp_path_factory.mktemp("gpus"))


@pytest.fixture(scope="session")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(None, tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="session")
def project(cpu: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, text and tasks, and scores, plans, solved weights and an adapter of `llama`."""
    folder = tmp_path_factory.mktemp("project")
    for name in STUDY["models"]:
        save_model(name, folder / name)
    catalogue = write_sources(folder)
    lines = catalogue["corpora"]["text"]
    for name, documents in (("text", [0, 36]), ("heldout", [36, len(TEXT)])):
        catalogue["corpora"][name] = lines | {"documents": documents}
    (folder / "config").mkdir()
    write(folder / "config/assets.yaml", catalogue)
    cpu.call(
        "fetch", *(f"{kind}/{name}" for kind, entries in catalogue.items() for name in entries), here=folder
    )
    facts = ((f"The harbour had {n} houses and", f" {n} wells") for n in range(6))
    write_requests(folder / "resources/requests/facts", facts)
    (folder / "resources/requests/facts/asset.json").write_text("{}")
    model = ("--model", "llama")
    blocks = ("--blocks", "blocks.safetensors")
    text = ("--corpus", "text", "--sequences", 16, "--length", 32)
    cpu.call("calibrate", *model, *text, "--out", "blocks.safetensors", here=folder)
    cpu.call("score", *model, *blocks, "--criterion", "entropy", "--resamples", 3, "--out", "scores.safetensors",
             here=folder)  # fmt: skip
    cpu.call("score", *model, *blocks, "--criterion", "entropy", "--units", UNITS, "--out", "all.safetensors",
             here=folder)  # fmt: skip
    resampled = ("--scores", "scores.safetensors", "--resampled", "scores.resampled.safetensors")
    for name, flags in {
        "plan": (*resampled, "--ratio", 0.15),
        "global": ("--scores", "scores.safetensors", "--ratio", 0.15, "--allocation", "global"),
        "units": ("--scores", "all.safetensors", "--ratio", 0.4, "--units", UNITS),
        "part": ("--scores", "scores.safetensors", "--ratio", 0.2, "--part", 0.5),
    }.items():
        cpu.call("plan", *model, *flags, "--out", f"{name}.safetensors", here=folder)
    plan = (*model, "--plan", "plan.safetensors")
    cpu.call("linear", *plan, *blocks, "--out", "solved", here=folder)
    cpu.call("recover", *plan, "--instructions", "resources/instructions/pairs", "--options",
             json.dumps(FEW), "--out", "adapter", here=folder)  # fmt: skip
    return folder


# A recovery of seconds, the same on every device.
FEW = {"rank": 4, "batch": 4, "length": 320, "max_steps": 4, "held_out": 3, "dropout": 0}
