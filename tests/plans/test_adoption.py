"""What adoption lets pass, and the one line that names what it does not."""

import json
from pathlib import Path

import pytest
import torch
from conftest import build_tiny, reload
from safetensors.torch import load_file, save_file

from hfprune.errors import HfpruneError
from hfprune.models.load import load_checkpoint, load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.adoption import adopt
from hfprune.plans.planning import apply_plan, load_plan
from hfprune.provenance import identity

LAYERS, WIDTH = 3, 48


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dense"
    build_tiny("qwen2").save_pretrained(folder)
    return folder


def keep(count: int) -> dict[str, torch.Tensor]:
    return {f"mlp.{layer}": torch.arange(count) for layer in range(LAYERS)}


def all_keep(kept: torch.Tensor) -> dict[str, torch.Tensor]:
    return {f"mlp.{layer}": kept.clone() for layer in range(LAYERS)}


def plan_file(path: Path, plan: dict[str, torch.Tensor]) -> Path:
    save_file(plan, path)
    return path


def checkpoint(folder: Path, architecture: str = "qwen2", **changes) -> Path:
    """Write a tiny model pruned to 32 of 48 neurons: 16 % of all parameters of the Qwen2."""
    model = build_tiny(architecture, **changes)
    apply_plan(model, keep(32))
    model.save_pretrained(folder)
    return folder


def refusal(dense: Path, pruned: Path, ratio: float = 0.15) -> str:
    with pytest.raises(HfpruneError) as failure:
        adopt(dense, pruned, ratio)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_plan_and_the_checkpoint_it_makes_have_the_same_size(dense: Path, tmp_path: Path) -> None:
    total = count_parameters(reload(dense))
    left = total - 3 * 32 * (WIDTH - 32) * LAYERS
    for path in (plan_file(tmp_path / "plan.safetensors", keep(32)), checkpoint(tmp_path / "pruned")):
        assert adopt(dense, path, 0.15) == (left, total)


def test_the_command_writes_size_and_inputs(dense: Path, tmp_path: Path) -> None:
    from command_line import failure, run

    path, out = plan_file(tmp_path / "plan.safetensors", keep(32)), tmp_path / "size.json"
    command = ("adopt", "--model", dense, "--plan", path, "--out", out, "--ratio")
    assert f"{path}: removes" in failure(*command, 0.5)
    assert not out.exists()
    run(*command, 0.15)
    result = json.loads(out.read_text())
    size = {value["metric"]: value["value"] for value in result["values"]}
    assert size["parameter_ratio"] == pytest.approx(3 * 32 * 16 * LAYERS / count_parameters(reload(dense)))
    assert set(result["provenance"]["inputs"]) == {"model", "plan"}


def test_a_plan_may_remove_layers(dense: Path, tmp_path: Path) -> None:
    model = reload(dense)
    total, layer = count_parameters(model), count_parameters(model.model.layers[0])
    path = plan_file(tmp_path / "plan.safetensors", {"layers": torch.tensor([0, 2])})
    assert adopt(dense, path, layer / total) == (total - layer, total)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"mlp.0": torch.arange(32)}, "the plan lacks mlp.1, but Qwen2ForCausalLM has 3 layers"),
        ({"heads.0": torch.arange(32)}, "not a plan"),
        (all_keep(torch.arange(20, 60)), "mlp.0 of the plan must hold sorted, distinct numbers below 48"),
        (all_keep(torch.zeros(2, 2, dtype=torch.int64)), "not a plan"),
        (all_keep(torch.rand(5)), "not a plan"),
        (keep(48), "removes 0.00% of all parameters where 15.00% were asked for"),
        (keep(4), "removes 42.72% of all parameters where 15.00% were asked for"),
    ],
)
def test_a_plan_that_does_not_fit_is_named(dense: Path, tmp_path: Path, plan, message: str) -> None:
    path = plan_file(tmp_path / "plan.safetensors", plan)
    assert f"{path}: {message}" in refusal(dense, path)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("llama", {}, "its architecture is LlamaForCausalLM, but that of"),
        ("qwen2", {"vocab_size": 90}, "its vocabulary size is 90, but that of"),
    ],
)
def test_a_checkpoint_of_another_model_is_named(
    dense: Path, tmp_path: Path, architecture: str, changes: dict, message: str
) -> None:
    path = checkpoint(tmp_path / "pruned", architecture, **changes)
    assert f"{path}: {message}" in refusal(dense, path)


def test_damaged_weights_are_named(dense: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "pruned")
    file, name = path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    weights = load_file(file)
    flaw = weights | {name: weights[name].clone().index_fill_(0, torch.tensor([3]), float("nan"))}
    save_file(flaw, file, {"format": "pt"})
    assert f"{path}: {name} holds numbers that are not finite" in refusal(dense, path)
    save_file({key: value for key, value in weights.items() if key != name}, file, {"format": "pt"})
    assert f"lack 1 weights, the first is {name}" in refusal(dense, path)
    file.unlink()
    assert f"{path}: cannot load the model" in refusal(dense, path)


def test_budget_is_met_within_half_a_layer(dense: Path, tmp_path: Path) -> None:
    layer, total = (count_parameters(x) for x in (reload(dense).model.layers[0], reload(dense)))
    path = plan_file(tmp_path / "plan.safetensors", keep(32))
    removed = 3 * 32 * (WIDTH - 32) * LAYERS / total
    for part in (0.49, -0.49):
        adopt(dense, path, removed + part * layer / total)
    for part in (0.51, -0.51):
        line = refusal(dense, path, removed + part * layer / total)
        assert f"at most half a decoder layer ({layer / total / 2:.2%})" in line


def test_a_checkpoint_is_the_model_of_its_plan(dense: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "pruned")
    plan = plan_file(tmp_path / "plan.safetensors", keep(32))
    tokens = torch.arange(20).unsqueeze(0)
    pruned = load_model(dense)
    apply_plan(pruned, load_plan(plan))
    assert torch.equal(load_checkpoint(path, dense)(tokens).logits, pruned(tokens).logits)
    before = identity(path)
    changed = reload(path)
    with torch.no_grad():
        gated_mlps(changed)[0].gate.weight[0, 0] += 1
    changed.save_pretrained(path)
    assert identity(path) != before, "other weights under the same config are another checkpoint"
