"""The folder of an export: what it may replace, what is left when writing fails, and its card."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import failure, run
from huggingface_hub import ModelCard
from smoke import ROOT


@pytest.fixture
def export(work: Path, tmp_path: Path) -> tuple[object, ...]:
    """A call that exports the plan of `work`; the folder is to be added."""
    return "export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--out"


@pytest.fixture
def pruned(export: tuple[object, ...], tmp_path: Path) -> Path:
    """An export."""
    run(*export, tmp_path / "pruned")
    return tmp_path / "pruned"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_an_untouched_export_is_replaced(work: Path, export: tuple[object, ...], pruned: Path) -> None:
    def refused(reason: str) -> None:
        before = tree(pruned)
        assert reason in failure(*export, pruned)
        assert tree(pruned) == before

    run(*export, pruned)
    (pruned / "notes.txt").write_text("mine")
    refused("(notes.txt was added)")
    (pruned / "notes.txt").unlink()
    (pruned / "README.md").write_text("my own words")
    refused("(README.md was changed)")
    run(*export, pruned.parent / "other")
    shutil.copytree(work / "mine", pruned.parent / "model")
    before = tree(pruned.parent / "model")
    assert "(it holds something else)" in failure(*export, pruned.parent / "model")
    assert tree(pruned.parent / "model") == before, "another model of the user's"
    assert "(is the dense model)" in failure(*export, work / "mine")


def test_a_full_disk_is_one_line_and_loses_nothing(export, pruned: Path) -> None:
    """A limit on the size of files makes the same calls fail that a full disk does."""
    before = tree(pruned.parent)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "sys.argv[0] = 'hfprune'; from hfprune.commands import main; main()"
    )
    arguments = [*map(str, export), str(pruned), "--align", "8"]  # the same export would be kept
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("hfprune export: error: ")
    assert "writing failed" in last
    assert "is there room on the disk? Nothing was changed" in last
    assert "Traceback" not in ended.stderr
    assert tree(pruned.parent) == before


def test_a_card_says_what_is_known_and_no_more(work: Path, export, pruned: Path, tmp_path: Path) -> None:
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
    sizes = json.loads((pruned / "provenance.json").read_text())
    assert f"{sizes['parameters']:,} parameters of " in card.text
    assert (pruned / "recipe/plan.safetensors").read_bytes() == (work / "plan.safetensors").read_bytes()


def test_a_card_carries_licence_base_model_and_results(work: Path, export, tmp_path: Path) -> None:
    """The results must be of this very model, and the recipe in the card makes the same weights again."""
    model, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(work / "mine", model)
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: open\nlicense_link: LICENSE\n---\n")
    source = {"provider": "hub", "repo": "some/thing", "revision": "0" * 40}
    (model / "asset.json").write_text(json.dumps({"name": "thing", "entry": {"source": source}}))
    plan = ("--model", model, "--plan", work / "plan.safetensors")
    text = ("--corpus", "text", "--sequences", 4, "--length", 24, "--resources", work)
    run("measure", "perplexity", *plan, *text, "--out", tmp_path / "found")
    run("export", *plan, "--results", tmp_path / "found", "--out", out)
    card = ModelCard.load(out / "README.md")
    licence = {"license": "other", "license_name": "open", "license_link": "LICENSE"}
    assert card.data.to_dict().items() >= ({"base_model": "some/thing"} | licence).items()
    assert f"Base model: `thing` (repo `some/thing`, revision `{'0' * 40}`)." in card.text
    result = json.loads((tmp_path / "found/perplexity.json").read_text())
    assert re.search(rf"\| text +\| perplexity +\| +{result['values'][0]['value']:.4g} \|", card.text)
    other = (
        "export",
        "--model",
        work / "mine",
        *plan[2:],
        "--results",
        tmp_path / "found",
        "--out",
        tmp_path / "no",
    )
    assert "was measured on another model" in failure(*other)
    assert "holds no results" in failure(*other[:-3], work / "corpora", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()

    (line,) = [line for line in card.text.splitlines() if line.startswith("$ hfprune export")]
    words = line.removeprefix("$ hfprune ").replace("--model thing", f"--model {model}").split()
    words = [str(out / word) if word.startswith("recipe/") else word for word in words]
    run(*words[:-1], tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
