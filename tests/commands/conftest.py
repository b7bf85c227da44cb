"""A model folder of the user's with blocks, scores, a plan and an adapter, made once."""

from contextlib import chdir
from pathlib import Path

import pytest
from command_line import SCORE, recover, run
from smoke import save_model, write, write_sources


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fetched assets: a tiny Qwen3 of the user's, a corpus, pairs and tasks."""
    folder = tmp_path_factory.mktemp("work")
    save_model("qwen3", folder / "mine")
    write(folder / "assets.yaml", write_sources(folder))
    (folder / "resources").mkdir()  # else assets go to the user's own folder
    with chdir(folder):
        run(
            "fetch corpora/text tasks/piqa tasks/arc_easy instructions/pairs --catalogue assets.yaml --resources ."
        )
        run("calibrate --model mine --corpus corpora/text --sequences 4 --length 24 --out blocks.safetensors")
        run(SCORE, "scores.safetensors")
        run("plan --model mine --scores scores.safetensors --ratio 0.15 --out plan.safetensors")
        run(recover(), "adapter")
    return folder


@pytest.fixture
def work(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made
