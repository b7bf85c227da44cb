"""Plans and exports by hand."""

import json
from pathlib import Path

import pytest
import torch
from command_line import failure, run, score
from conftest import reload

from hfprune.models.load import load_model
from hfprune.plans.planning import apply_plan, load_plan


def test_plan_is_of_the_size_asked_for(work: Path) -> None:
    values = {v["metric"]: v["value"] for v in json.loads((work / "plan.json").read_text())["values"]}
    assert values["parameter_ratio"] == pytest.approx(0.15, abs=0.005)


def test_plans_of_the_same_scores_are_the_same_bytes(work: Path, tmp_path: Path) -> None:
    run("plan", "--model", work / "mine", "--scores", work / "scores.safetensors", "--ratio", 0.15, "--out",
        tmp_path / "again.safetensors")  # fmt: skip
    assert (tmp_path / "again.safetensors").read_bytes() == (work / "plan.safetensors").read_bytes()
    cell = json.loads((tmp_path / "again.json").read_text())["cell"]
    assert (cell["method"], cell["ratio"]) == ("pruned", 0.15)


def test_export_gives_the_logits_of_dense_and_plan(work: Path, tmp_path: Path) -> None:
    run("export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--out", tmp_path / "out")
    model = load_model(work / "mine", device=torch.device("cpu"))
    apply_plan(model, load_plan(work / "plan.safetensors"))
    tokens = torch.arange(20).unsqueeze(0)
    assert torch.equal(reload(tmp_path / "out")(tokens).logits, model(tokens).logits)


def test_attention_and_one_ranking_over_all_layers(work: Path, tmp_path: Path, capsys) -> None:
    """Both parts by one sweep; as many parameters as pruning neurons alone; the export says what pads it."""
    model, scores = ("--model", work / "mine"), tmp_path / "scores.safetensors"
    both = ("--units", '["neurons", "key_value_groups"]')
    run("budget", *model, "--ratios", 0.25, "--units", "neurons", both[1], "--out", tmp_path / "budget.json")
    assert "keep 1 of 2 key_value_groups, " in capsys.readouterr().out
    kept = json.loads((tmp_path / "budget.json").read_text())
    assert kept["neurons_removed"]["0.25"] == 1 - kept["kept"]["neurons"]["0.25"]["neurons"] / 48
    run(*score(work), *both, "--out", scores)
    allocation = ("--allocation", '{"rule": "global", "standardize": true}')
    plan = ("plan", *model, "--scores", scores, "--ratio", 0.25, *both, *allocation)
    run(*plan, "--out", tmp_path / "plan.safetensors")
    values = {v["metric"]: v["value"] for v in json.loads((tmp_path / "plan.json").read_text())["values"]}
    assert values["parameter_ratio"] == pytest.approx(0.25, abs=0.005)
    run("export", *model, "--plan", tmp_path / "plan.safetensors", "--out", tmp_path / "out")
    assert "zeros that pad narrower layers" in capsys.readouterr().out
    sizes = json.loads((tmp_path / "out/provenance.json").read_text())
    assert sizes["parameters"] == values["parameters"] < sizes["parameters_on_disk"]
    assert sizes["inputs"].keys() == {"model", "plan"}
    assert reload(tmp_path / "out").config.num_key_value_heads == 1

    out = ("--out", tmp_path / "x.safetensors")
    assert "align belongs to" in failure(*plan[:-1], '{"rule": "global", "align": 3}', *out)
    needed = ("plan", *model, "--scores", work / "scores.safetensors", "--ratio", 0.25, *both)
    assert "holds no scores of key_value_groups" in failure(*needed, *out)
    assert "criterion 'magnitude' cannot score key_value_groups, only neurons" in failure(
        "score", *model, "--criterion", "magnitude", *both, *out
    )
