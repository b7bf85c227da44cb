"""A model folder of the user's with blocks, scores, a plan and an adapter, made once."""

from pathlib import Path

import pytest
from command_line import recover, run, score
from smoke import save_model, write, write_sources


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fetched assets: a tiny Qwen3 of the user's, a corpus and a task."""
    folder = tmp_path_factory.mktemp("work")
    save_model("qwen3", folder / "mine")
    write(folder / "assets.yaml", write_sources(folder))
    catalogue = ("--catalogue", folder / "assets.yaml", "--resources", folder)
    run("fetch", "corpora/text", "tasks/piqa", "tasks/arc_easy", "instructions/pairs", *catalogue)
    text = ("--corpus", folder / "corpora/text", "--sequences", 4, "--length", 24)
    model = ("--model", folder / "mine")
    run("calibrate", *model, *text, "--out", folder / "blocks.safetensors")
    run(*score(folder), "--out", folder / "scores.safetensors")
    run("plan", *model, "--scores", folder / "scores.safetensors", "--ratio", 0.15, "--out",
        folder / "plan.safetensors")  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def adapter(work: Path) -> Path:
    """An adapter for the plan."""
    run(*recover(work), "--out", work / "adapter")
    return work / "adapter"
