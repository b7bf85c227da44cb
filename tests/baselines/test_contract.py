"""What `hfprune adopt` lets pass, and the one line that names what it does not."""

import json
from pathlib import Path

import pytest
import torch
from conftest import build_tiny, reload
from safetensors.torch import load_file, save_file
from test_cli import failure, run

from hfprune.models import gated_mlps
from hfprune.plans import apply_plan

LAYERS, WIDTH = 3, 48


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dense"
    build_tiny("qwen2").save_pretrained(folder)
    return folder


def keep(count: int) -> list[torch.Tensor]:
    return [torch.arange(count) for _ in range(LAYERS)]


def plan_file(path: Path, plan: list[torch.Tensor]) -> Path:
    save_file({f"mlp.{layer}": kept.clone() for layer, kept in enumerate(plan)}, path)
    return path


def checkpoint(folder: Path, architecture: str = "qwen2", **changes) -> Path:
    """Write a tiny model pruned to 32 of 48 neurons: 16 % of all parameters of the Qwen2."""
    model = build_tiny(architecture, **changes)
    apply_plan(model, keep(32))
    model.save_pretrained(folder)
    return folder


def arguments(dense: Path, flag: str, path: Path, ratio: float, tmp_path: Path) -> tuple:
    return ("adopt", "--model", dense, flag, path, "--ratio", ratio, "--out", tmp_path / "size.json")


def test_a_plan_and_the_checkpoint_it_makes_have_the_same_size(dense: Path, tmp_path: Path) -> None:
    sizes = []
    for flag, path in (
        ("--plan", plan_file(tmp_path / "plan.safetensors", keep(32))),
        ("--checkpoint", checkpoint(tmp_path / "pruned")),
    ):
        run(*arguments(dense, flag, path, 0.15, tmp_path))
        result = json.loads((tmp_path / "size.json").read_text())
        sizes.append({value["metric"]: value["value"] for value in result["values"]})
        assert set(result["provenance"]["inputs"]) == {"model", flag.removeprefix("--")}
    assert sizes[0] == sizes[1]
    removed = 3 * 32 * (WIDTH - 32) * LAYERS
    total = sum(parameter.numel() for parameter in reload(dense).parameters())
    assert sizes[0]["parameter_ratio"] == pytest.approx(removed / total)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (keep(32)[:2], "the plan has 2 layers, but Qwen2ForCausalLM has 3"),
        ([torch.arange(20, 60)] * LAYERS, "mlp.0 of the plan must hold sorted, distinct numbers below 48"),
        ([torch.zeros(2, 2, dtype=torch.int64)] * LAYERS, "not a plan"),
        ([torch.rand(5)] * LAYERS, "not a plan"),
        (keep(48), "removes 0.00% of all parameters where 15.00% were asked for"),
        (keep(4), "removes 42.72% of all parameters where 15.00% were asked for"),
    ],
)
def test_a_plan_that_does_not_fit_is_named(dense: Path, tmp_path: Path, plan, message: str) -> None:
    path = plan_file(tmp_path / "plan.safetensors", plan)
    line = failure(*arguments(dense, "--plan", path, 0.15, tmp_path))
    assert f"{path}: {message}" in line
    assert not (tmp_path / "size.json").exists()


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
    assert f"{path}: {message}" in failure(*arguments(dense, "--checkpoint", path, 0.15, tmp_path))


def test_damaged_weights_are_named(dense: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "pruned")
    file, name = path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    weights = load_file(file)
    flaw = weights | {name: weights[name].clone().index_fill_(0, torch.tensor([3]), float("nan"))}
    save_file(flaw, file, {"format": "pt"})
    adopt = arguments(dense, "--checkpoint", path, 0.15, tmp_path)
    assert f"{path}: {name} holds numbers that are not finite" in failure(*adopt)
    save_file({key: value for key, value in weights.items() if key != name}, file, {"format": "pt"})
    assert f"lack 1 weights, the first is {name}" in failure(*adopt)
    file.unlink()
    assert f"{path}: cannot load the model" in failure(*adopt)


def test_budget_is_met_within_half_a_block(dense: Path, tmp_path: Path) -> None:
    block = sum(parameter.numel() for parameter in reload(dense).model.layers[0].parameters())
    total = sum(parameter.numel() for parameter in reload(dense).parameters())
    path = plan_file(tmp_path / "plan.safetensors", keep(32))
    removed = 3 * 32 * (WIDTH - 32) * LAYERS / total
    for part in (0.49, -0.49):
        run(*arguments(dense, "--plan", path, removed + part * block / total, tmp_path))
    for part in (0.51, -0.51):
        line = failure(*arguments(dense, "--plan", path, removed + part * block / total, tmp_path))
        assert f"at most half a decoder block ({block / total / 2:.2%})" in line


def test_measurements_of_a_checkpoint_are_those_of_its_plan(dense: Path, tmp_path: Path) -> None:
    from hfprune.cli import _load, _parser, _plan_input
    from hfprune.provenance import identity

    path = checkpoint(tmp_path / "pruned")
    plan = plan_file(tmp_path / "plan.safetensors", keep(32))
    text = ["--corpus", "c", "--sequences", "1", "--length", "2", "--out", "x.json"]
    first, second = (
        _parser().parse_args(["perplexity", "--model", str(dense), *flags, *text])
        for flags in (["--checkpoint", str(path)], ["--plan", str(plan)])
    )
    tokens = torch.arange(20).unsqueeze(0)
    assert torch.equal(_load(first)(tokens).logits, _load(second)(tokens).logits)
    assert _plan_input(first) == {"checkpoint": path}
    before = identity(path)
    changed = reload(path)
    with torch.no_grad():
        gated_mlps(changed)[0].gate.weight[0, 0] += 1
    changed.save_pretrained(path)
    assert identity(path) != before, "other weights under the same config are another checkpoint"
