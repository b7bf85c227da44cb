"""A machine with simulated GPUs, one without, and a project whose files both read."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from gpu.simulator import CannotSimulateError, Machine, build
from smoke import PAIRS, STUDY, TASKS, TEXT, local, save_model, write

from hfprune.assets.formats import write_arrow

UNITS = json.dumps({"neurons": None, "key_value_groups": None, "layers": None})


@pytest.fixture(scope="session")
def simulator() -> Path:
    """The folder of the built simulator."""
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
    """A machine without a GPU."""
    return Machine(None, tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="session")
def project(cpu: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, text and tasks, and scores, plans, solved weights and an adapter of `llama`."""
    folder = tmp_path_factory.mktemp("project")
    for name in STUDY["models"]:
        save_model(name, folder / name)
    (folder / "text.txt").write_text("\n".join(TEXT))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    for task, documents in TASKS.items():
        (folder / f"{task}.jsonl").write_text("\n".join(map(json.dumps, documents)))
    lines = {"source": local(folder / "text.txt"), "format": "lines"}
    corpora = {"text": lines | {"documents": [0, 36]}, "heldout": lines | {"documents": [36, len(TEXT)]}}
    tasks = {
        task: {"source": local(folder / f"{task}.jsonl"), "format": "jsonl", "rows": len(documents)}
        for task, documents in TASKS.items()
    }
    pairs = {"source": local(folder / "pairs.jsonl"), "format": "jsonl"}
    (folder / "config").mkdir()
    write(
        folder / "config/assets.yaml", {"corpora": corpora, "tasks": tasks, "instructions": {"pairs": pairs}}
    )
    cpu.call("fetch", *(f"corpora/{name}" for name in corpora), *(f"tasks/{task}" for task in tasks),
             "instructions/pairs", here=folder)  # fmt: skip
    _requests(folder / "resources/requests/facts")
    _generation(folder / "generation")
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


def _requests(folder: Path) -> None:
    folder.mkdir(parents=True)
    texts = [f"The harbour had {n} houses and" for n in range(6)], [f" {n} wells" for n in range(6)]
    columns = {"document": [*range(6)], "context": texts[0], "continuation": texts[1]}
    write_arrow(folder / "requests.arrow", pa.table(columns))
    (folder / "asset.json").write_text("{}")


def _generation(folder: Path) -> None:
    folder.mkdir()
    for split in ("train", "test"):
        rows = [{"question": text[:40], "answer": "no"} for text in TEXT[:6]]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    about = {
        "task": "local_qa", "dataset_path": "json", "output_type": "generate_until", "test_split": "test",
        "dataset_kwargs": {"data_files": {s: str(folder / f"{s}.jsonl") for s in ("train", "test")}},
        "training_split": "train", "fewshot_split": "train", "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 6},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / "local_qa.yaml").write_text(yaml.safe_dump(about))
