"""`hfprune prune --device-map disk`: the same model, and a comparison on text, without the sample."""

from pathlib import Path

import torch
from command_line import failure, run

import hfprune
from hfprune.files import read_json


def test_a_model_that_stays_on_disk_is_pruned_and_compared_alike(call: str, tmp_path: Path) -> None:
    given = f"{call} --criterion flap --linear --quick"
    for place, flags in (("memory", ""), ("auto", "--device-map auto"), ("disk", "--device-map disk")):
        run(given, "--out", tmp_path / place, *flags.split())
        assert (tmp_path / place / "work/sample.json").exists() == (place != "disk")
    memory, *others = (
        hfprune.load(tmp_path / place / "model").state_dict() for place in ("memory", "auto", "disk")
    )
    for other in others:
        assert memory.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in memory.items())
    for result in sorted((tmp_path / "memory/work/cells").rglob("perplexity.json")):
        again = tmp_path / "disk" / result.relative_to(tmp_path / "memory")
        values, others = (read_json(path)["values"] for path in (result, again))
        for value, other in zip(values, others, strict=True):
            assert abs(value["value"] - other["value"]) <= 1e-5 * abs(value["value"]), value["metric"]
    assert "--device-map" not in (tmp_path / "disk/model/README.md").read_text(), (
        "another machine may hold it"
    )


def test_a_recipe_that_takes_gradients_says_what_it_needs(call: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hfprune.models.load.read_folder", None)  # whoever loads fails otherwise
    line = failure(f"{call} --out {tmp_path}/out --device-map disk --quick")
    assert "'entropy' takes gradients, which needs the whole model in memory" in line
