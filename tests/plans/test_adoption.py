"""What adoption lets pass, and the one line that names what it does not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import failure, run
from conftest import build_tiny, reload
from safetensors.torch import load_file, save_file

from hfprune.errors import HfpruneError
from hfprune.models.load import load_checkpoint, load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.adoption import adopt
from hfprune.plans.planning import apply_plan, load_plan
from hfprune.provenance import identity

LAYERS, WIDTH = 3, 48
NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dense"
    build_tiny("qwen2").save_pretrained(folder)
    return folder


def keep(kept: torch.Tensor | int) -> dict[str, torch.Tensor]:
    kept = torch.arange(kept) if isinstance(kept, int) else kept
    return {f"mlp.{layer}": kept.clone() for layer in range(LAYERS)}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan that keeps 32 of 48 neurons: 16 % of all parameters go."""
    save_file(keep(32), tmp_path / "plan.safetensors")
    return tmp_path / "plan.safetensors"


def checkpoint(folder: Path, architecture: str = "qwen2", **changes) -> Path:
    """Write a tiny model pruned by that plan."""
    model = build_tiny(architecture, **changes)
    apply_plan(model, keep(32))
    model.save_pretrained(folder)
    return folder


def refusal(dense: Path, pruned: Path, ratio: float = 0.15) -> str:
    with pytest.raises(HfpruneError) as failure:
        adopt(dense, pruned, ratio)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_plan_and_the_checkpoint_it_makes_have_the_same_size(
    dense: Path, plan: Path, tmp_path: Path
) -> None:
    model = reload(dense)
    total, layer = count_parameters(model), count_parameters(model.model.layers[0])
    for path in (plan, checkpoint(tmp_path / "pruned")):
        assert adopt(dense, path, 0.15) == (total - 3 * 32 * (WIDTH - 32) * LAYERS, total)
    save_file({"layers": torch.tensor([0, 2])}, plan)
    assert adopt(dense, plan, layer / total) == (total - layer, total)


def test_the_command_writes_size_and_inputs(dense: Path, plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "size.json"
    command = ("adopt", "--model", dense, "--plan", plan, "--out", out, "--ratio")
    assert f"{plan}: removes" in failure(*command, 0.5)
    assert not out.exists()
    run(*command, 0.15)
    result = json.loads(out.read_text())
    size = {value["metric"]: value["value"] for value in result["values"]}
    assert size["parameter_ratio"] == pytest.approx(3 * 32 * 16 * LAYERS / count_parameters(reload(dense)))
    assert set(result["provenance"]["inputs"]) == {"model", "plan"}


def with_weights(folder: Path, change: Callable[[dict], dict]) -> None:
    file = checkpoint(folder) / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})


@pytest.mark.parametrize(
    ("pruned", "message"),
    [
        ({"mlp.0": torch.arange(32)}, "the plan lacks mlp.1, but Qwen2ForCausalLM has 3 layers"),
        ({"heads.0": torch.arange(32)}, "not a plan"),
        (keep(torch.arange(20, 60)), "mlp.0 of the plan must hold sorted, distinct numbers below 48"),
        (keep(torch.rand(5)), "not a plan"),
        (keep(4), "removes 42.72% of all parameters where 15.00% were asked for"),
        (lambda at: checkpoint(at, "llama"), "its architecture is LlamaForCausalLM, but that of"),
        (lambda at: checkpoint(at, vocab_size=90), "its vocabulary size is 90, but that of"),
        (lambda at: with_weights(at, lambda of: of | {NAME: of[NAME].index_fill(0, torch.tensor([3]), torch.nan)}),
         f"{NAME} holds numbers that are not finite"),
        (lambda at: with_weights(at, lambda of: {name: of[name] for name in of.keys() - {NAME}}),
         f"its safetensors lack 1 weights, the first is {NAME}"),
        (lambda at: (checkpoint(at) / "model.safetensors").unlink(), "cannot load the model"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(dense: Path, tmp_path: Path, pruned, message: str) -> None:
    path = tmp_path / "pruned"
    if isinstance(pruned, dict):
        save_file(pruned, path)
    else:
        pruned(path)
    assert f"{path}: {message}" in refusal(dense, path)


def test_budget_is_met_within_half_a_layer(dense: Path, plan: Path) -> None:
    layer, total = (count_parameters(x) for x in (reload(dense).model.layers[0], reload(dense)))
    removed = 3 * 32 * (WIDTH - 32) * LAYERS / total
    for part in (0.49, -0.49):
        adopt(dense, plan, removed + part * layer / total)
    for part in (0.51, -0.51):
        line = refusal(dense, plan, removed + part * layer / total)
        assert f"at most half a decoder layer ({layer / total / 2:.2%})" in line


def test_a_model_that_lost_nothing_is_refused_however_little_was_asked_for(dense: Path) -> None:
    assert "removes 0.00% of all parameters where 1.00% were asked for" in refusal(dense, dense, 0.01)


def test_a_checkpoint_is_the_model_of_its_plan(dense: Path, plan: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "pruned")
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
