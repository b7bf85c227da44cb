"""`import hfprune`: the documented example, as it stands there, does what the commands do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run
from conftest import reload
from smoke import ROOT, TEXT, save_model

import hfprune
from hfprune.calibration.blocks import save_blocks
from hfprune.plans.planning import count_parameters, load_plan, same_plan


def test_the_example_prunes_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/stages.md").read_text(), re.DOTALL)
    save_model("llama", tmp_path / "my-model")
    (tmp_path / "my-text.txt").write_text("\n".join(TEXT))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "stages.md", "exec"), names)
    total = count_parameters(reload(tmp_path / "my-model"))
    pruned = reload(tmp_path / "pruned")
    assert 1 - count_parameters(pruned) / total == pytest.approx(0.2, abs=0.005)

    card = (tmp_path / "pruned/README.md").read_text()
    assert "| criterion | `entropy` |" in card
    assert "| ratio (fraction of all parameters to remove) | `0.2` |" in card
    assert same_plan(load_plan(tmp_path / "pruned/recipe/plan.safetensors"), names["plan"])

    # Cut again: neither plan says what is left of the dense model.
    hfprune.apply_plan(
        names["model"], {name: torch.arange(len(kept) - 1) for name, kept in names["plan"].items()}
    )
    hfprune.export(names["model"], tmp_path / "my-model", tmp_path / "twice")
    assert not (tmp_path / "twice/recipe").exists()
    assert "No plan was recorded." in (tmp_path / "twice/README.md").read_text()

    save_blocks(tmp_path / "blocks.safetensors", names["blocks"], {}, [*range(len(names["blocks"]))])
    run("score --model my-model --blocks blocks.safetensors --criterion entropy --out s.safetensors")
    run("plan --model my-model --scores s.safetensors --ratio 0.2 --out plan.safetensors")
    run("export --model my-model --plan plan.safetensors --out by-hand")
    by_hand = reload(tmp_path / "by-hand").state_dict()
    assert by_hand.keys() == pruned.state_dict().keys()
    assert all(torch.equal(by_hand[name], weight) for name, weight in pruned.state_dict().items())


def test_importing_is_cheap_and_names_are_there() -> None:
    code = "import sys, hfprune; print(*dir(hfprune)); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, modules = map(str.split, process.stdout.splitlines())
    assert set(hfprune.__all__) <= set(names)
    assert not {"torch", "transformers", "pydantic", "pandas"} & set(modules)
    for name in hfprune.__all__:
        assert name == "__version__" or callable(getattr(hfprune, name))
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        hfprune.load_modle  # noqa: B018
