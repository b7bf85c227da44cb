"""A folder with a tiny model of the user's, and a catalogue whose texts lie on this machine."""

import json
from pathlib import Path

import pytest
from smoke import PAIRS, TEXT, local, save_model, write

from hfprune.pruning.compared import CAPABILITIES

GOLD = [
    {"doc_id": n, "idx": 0, "label": 0, "request": {"context": text[:60], "continuation": f" {n * 7} houses"}}
    for n, text in enumerate(TEXT[:9])
]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; `models/mine` is the model, `assets.yaml` the catalogue."""
    folder = tmp_path_factory.mktemp("project")
    save_model("qwen3", folder / "models/mine")
    (folder / "text.txt").write_text("\n".join(TEXT))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    (folder / "gold.jsonl").write_text("\n".join(map(json.dumps, GOLD)))
    # Longer than the blocks of the comparison.
    (folder / "heldout.txt").write_text("\n".join(" ".join(TEXT[n : n + 6]) for n in range(30, 42)))
    requests = [name for group in CAPABILITIES["groups"].values() for name in group]
    heldout = {"source": local(folder / "heldout.txt"), "format": "lines"}
    text, pairs, gold = (local(folder / name) for name in ("text.txt", "pairs.jsonl", "gold.jsonl"))
    write(
        folder / "assets.yaml",
        {
            "corpora": {
                "c4-sample": {"source": text, "format": "lines", "documents": [0, 30]},
                "c4-sample-heldout": heldout,
            },
            "instructions": {"coqa": {"source": pairs, "format": "jsonl"}},
            "requests": {name: {"source": gold, "rows": len(GOLD)} for name in requests},
        },
    )
    return folder


@pytest.fixture(scope="session")
def call(project: Path) -> str:
    """A call that prunes the model; `--out` is to be added."""
    # By the faster dtype, another machine would give other numbers.
    few = "--recipe paper --ratio 0.15 --sequences 4 --length 32 --dtype float32"
    places = f"--catalogue {project}/assets.yaml --resources {project}/resources"
    return f"prune --model {project}/models/mine {few} {places}"
