"""A folder with a tiny model of the user's, and a catalogue whose texts lie on this machine."""

import json
from pathlib import Path

import pytest
from smoke import TEXT, local, save_model, write, write_sources

from hfprune.measures.gold_bpb import SHORT

GOLD = [
    {"doc_id": n, "idx": 0, "label": 0, "request": {"context": text[:60], "continuation": f" {n * 7} houses"}}
    for n, text in enumerate(TEXT[:9])
]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; `models/mine` is the model, `assets.yaml` the catalogue."""
    folder = tmp_path_factory.mktemp("project")
    save_model("qwen3", folder / "models/mine")
    sources = write_sources(folder)
    text = sources["corpora"]["text"]
    (folder / "gold.jsonl").write_text("\n".join(map(json.dumps, GOLD)))
    # Longer than the blocks of the comparison.
    (folder / "heldout.txt").write_text("\n".join(" ".join(TEXT[n : n + 6]) for n in range(30, 42)))
    gold = {"source": local(folder / "gold.jsonl"), "rows": len(GOLD)}
    catalogue = {
        "corpora": {
            "c4-sample": text | {"documents": [0, 30]},
            "general-mix": text | {"documents": [0, 30]},
            "c4-reading": text | {"source": local(folder / "heldout.txt")},
            "wikipedia-sample": text | {"source": local(folder / "heldout.txt")},
        },
        "instructions": {"coqa": sources["instructions"]["pairs"]},
        "requests": {name: gold for group in SHORT.values() for name in group},
    }
    write(folder / "assets.yaml", catalogue)
    return folder


@pytest.fixture(scope="session")
def call(project: Path) -> str:
    """A call that prunes the model; `--out` is to be added."""
    # In the faster precision, another machine would give other numbers.
    few = "--recipe paper --ratio 0.15 --sequences 4 --length 32 --dtype float32"
    places = f"--catalogue {project}/assets.yaml --resources {project}/resources"
    return f"prune --model {project}/models/mine {few} {places}"
