"""The folder of an export: its size, what it may replace, what is left when writing fails, and its card."""

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import EXPORT, SCORE, failure, full_disk, run
from conftest import reload
from huggingface_hub import ModelCard

from hfprune.files import read_json


@pytest.fixture
def pruned(work: Path, tmp_path: Path) -> Path:
    run(EXPORT, tmp_path / "pruned")
    return tmp_path / "pruned"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_attention_and_one_ranking_over_all_layers(work: Path, tmp_path: Path, capsys) -> None:
    """Both parts by one sweep; as many parameters as pruning neurons alone; a plain export says what pads it."""
    both = '["neurons", "key_value_groups"]'
    scores, plan = tmp_path / "scores.safetensors", tmp_path / "plan.safetensors"
    run("budget --model mine --ratios 0.25 --units neurons", both, "--out", tmp_path / "budget.json")
    assert "keep 1 of 2 key_value_groups, " in capsys.readouterr().out
    kept = read_json(tmp_path / "budget.json")
    assert kept["neurons_removed"]["0.25"] == 1 - kept["kept"]["neurons"]["0.25"]["neurons"] / 48
    run(SCORE, scores, "--units", both)
    cut = """plan --model mine --ratio 0.25 --allocation '{"rule": "global", "standardize": true}'"""
    run(cut, "--units", both, "--scores", scores, "--out", plan)
    result = read_json(tmp_path / "plan.json")
    assert (result["cell"]["method"], result["cell"]["ratio"]) == ("pruned", 0.25)
    values = {value["metric"]: value["value"] for value in result["values"]}
    assert values["parameter_ratio"] == pytest.approx(0.25, abs=0.005)
    export = f"export --model mine --plan {plan} --out {tmp_path}/out"
    run(export)
    assert "its layers differ in size: `hfprune.load`, or the function in its card" in capsys.readouterr().out
    sizes = read_json(tmp_path / "out/provenance.json")
    assert sizes["parameters"] == values["parameters"] == sizes["parameters_on_disk"]
    assert sizes["inputs"].keys() == {"model", "plan"}
    run(f"{export} --plain")
    assert "zeros that pad narrower layers" in capsys.readouterr().out
    sizes = read_json(tmp_path / "out/provenance.json")
    assert sizes["parameters"] == values["parameters"] < sizes["parameters_on_disk"]
    assert reload(tmp_path / "out").config.num_key_value_heads == 1
    assert " --plain --out pruned" in (tmp_path / "out/README.md").read_text()
    run(export)
    again = read_json(tmp_path / "out/provenance.json")
    assert again["parameters_on_disk"] == values["parameters"], "the other form is not taken for this one"


def test_only_an_untouched_export_is_replaced(work: Path, pruned: Path) -> None:
    run(EXPORT, pruned)
    shutil.copytree("mine", pruned.parent / "model")
    for folder, added, reason in (
        (pruned, "notes.txt", "(notes.txt was added)"),
        (pruned, "README.md", "(README.md was changed)"),
        (pruned.parent / "model", "config.json", "(it holds something else)"),
    ):
        kept = folder / added
        mine = kept.read_bytes() if kept.exists() else b""
        kept.write_bytes(mine + b"\n")
        before = tree(folder)
        assert reason in failure(EXPORT, folder)
        assert tree(folder) == before
        kept.write_bytes(mine) if mine else kept.unlink()
    assert "(is the dense model)" in failure(EXPORT, "mine")


def test_a_full_disk_is_one_line_and_loses_nothing(pruned: Path) -> None:
    before = tree(pruned.parent)
    with full_disk(60_000):
        line = failure(EXPORT, pruned, "--align", 8)  # the same export would be kept
    assert line.startswith("hfprune export: error: ") and "writing failed" in line
    assert "is there room on the disk? Nothing was changed" in line
    assert tree(pruned.parent) == before


def test_a_card_says_what_is_known_and_no_more(work: Path, pruned: Path) -> None:
    card = ModelCard.load(pruned / "README.md")
    assert card.data.to_dict() == {
        "library_name": "transformers",
        "license": "unknown",
        "pipeline_tag": "text-generation",
        "tags": ["pruned", "hfprune"],
    }
    assert "| criterion | `entropy` |" in card.text
    assert "| ratio (fraction of all parameters to remove) | `0.15` |" in card.text
    assert "Nothing was measured for this card." in card.text
    assert f"{read_json(pruned / 'provenance.json')['parameters']:,} parameters of " in card.text
    assert (pruned / "recipe/plan.safetensors").read_bytes() == (work / "plan.safetensors").read_bytes()


def test_only_a_call_of_prune_goes_on_to_measure(work: Path, tmp_path: Path) -> None:
    run("export --plan plan.safetensors --model mine --command", "make it", "--out", tmp_path / "own")
    assert "Nothing was measured for this card." in (tmp_path / "own/README.md").read_text()


def test_a_card_carries_licence_and_base_model(work: Path, tmp_path: Path) -> None:
    """The recipe in the card makes the same weights again."""
    model, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree("mine", model)
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: open\nlicense_link: LICENSE\n---\n")
    source = {"provider": "hub", "repo": "some/thing", "revision": "0" * 40}
    (model / "asset.json").write_text(json.dumps({"name": "thing", "entry": {"source": source}}))
    run("export --plan plan.safetensors --model", model, "--out", out)
    card = ModelCard.load(out / "README.md")
    licence = {"license": "other", "license_name": "open", "license_link": "LICENSE"}
    assert card.data.to_dict().items() >= ({"base_model": "some/thing"} | licence).items()
    assert f"Base model: `thing` (repo `some/thing`, revision `{'0' * 40}`)." in card.text
    (line,) = re.findall(r"^\$ hfprune (export .*) \S+$", card.text, re.MULTILINE)
    line = line.replace("--model thing", f"--model {model}").replace(" recipe/", f" {out}/recipe/")
    run(line, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
