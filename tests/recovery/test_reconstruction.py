"""Linear recovery: equal to a naive least-squares solve, whatever the family, the plan, and interruptions."""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import build_tiny, reload
from families import build, random_plan
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel

from hfprune.errors import HfpruneError
from hfprune.exports.checkpoint import export
from hfprune.files import sha256
from hfprune.models.grams import inputs_of
from hfprune.models.units import units_of
from hfprune.plans.mask import masked
from hfprune.plans.planning import Plan, apply_plan, save_plan
from hfprune.provenance import identity
from hfprune.recovery import reconstruction
from hfprune.recovery.least_squares import Lost, change
from hfprune.recovery.reconstruction import solve_plans
from hfprune.recovery.solved import Solved, apply_linear, load_solved, save_solved
from hfprune.settings.recovery import Linear

BLOCKS = torch.randint(0, 97, (24, 17), generator=torch.Generator().manual_seed(3))
# Each with tied embeddings but for qwen2 and gemma3.
MODELS = {
    **{name: partial(build_tiny, name) for name in ("llama", "qwen2", "qwen3")},
    "llama with biases": partial(build_tiny, "llama-bias", attention_bias=True),
    "gemma3": partial(build, "gemma3"),
}


def solve_all(
    model: PreTrainedModel, plans: dict[str, Plan], state: Path, blocks: Tensor = BLOCKS, **settings
) -> dict[str, dict[str, Solved]]:
    own = {name: settings.pop(name) for name in Linear.model_fields if name in settings}
    return solve_plans(model, blocks, plans, state, Linear(**own), **settings)


def solve(model: PreTrainedModel, plan: Plan, state: Path, **settings) -> dict[str, Solved]:
    return solve_all(model, {"it": plan}, state, **settings)["it"]


def watched(model: PreTrainedModel, module: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Return the inputs and outputs [tokens, ...] of a module over all blocks, in float64."""
    seen = []
    handle = module.register_forward_hook(lambda _m, x, y: seen.append((x[0].flatten(0, 1), y.flatten(0, 1))))
    with torch.no_grad():
        model(BLOCKS)
    handle.remove()
    return tuple(part.double() for part in seen[0])


def naive(x: Tensor, d: Tensor, ridge: float) -> Tensor:
    """Return the change of weights by one `lstsq` in float64, with the ridge as further rows."""
    rows = torch.eye(x.shape[1], dtype=x.dtype) * (ridge * x.square().sum(0).mean()).sqrt()
    both = torch.cat([x, rows]), torch.cat([d, d.new_zeros(len(rows), d.shape[1])])
    return torch.linalg.lstsq(*both, driver="gelsd").solution.T


def is_near(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-5 * expected.norm())


CASES = [
    *(("llama with biases", kind) for kind in ("equal widths", "unequal widths", "groups", "fewer layers")),
    ("llama", "equal widths"),
    ("qwen2", "groups"),
    ("qwen3", "groups"),
    ("gemma3", "unequal widths"),
    ("gemma3", "fewer layers"),
]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_equals_lstsq(family: str, kind: str, tmp_path: Path) -> None:
    model = MODELS[family]().double()
    plan = random_plan(model, kind)
    solved = solve(model, plan, tmp_path, ridges=[1e-3])
    assert solved.keys() == plan.keys() - {"layers"}
    places = units_of(model, ["neurons", "key_value_groups"])
    for place, found in solved.items():
        layer, kept = places[place].linears[-1], inputs_of(places[place], plan[place])
        x, y = watched(model, layer)
        old = layer.bias if layer.bias is not None else 0
        change = naive(x[:, kept], y - old - x[:, kept] @ layer.weight[:, kept].T, 1e-3)
        assert is_near(found.weight, layer.weight[:, kept] + change), place
        assert not is_near(found.weight, layer.weight[:, kept]), place
        assert layer.bias is None if found.bias is None else torch.equal(found.bias, layer.bias)


def test_a_place_that_the_plan_leaves_whole_is_as_it_was(tmp_path: Path) -> None:
    model = MODELS["qwen2"]()
    whole = {place: torch.arange(units.count) for place, units in units_of(model, ["neurons"]).items()}
    assert solve(model, whole, tmp_path / "whole") == {}
    cut = random_plan(model, "unequal widths")["mlp.1"]
    assert solve(model, whole | {"mlp.1": cut}, tmp_path / "one").keys() == {"mlp.1"}


@pytest.mark.parametrize(("width", "apart"), [(32, 1e-4), (320, 0.05)], ids=["all outputs", "combinations"])
def test_lambda_is_chosen_by_documents_that_are_held_out(width: int, apart: float, tmp_path: Path) -> None:
    model, few = build_tiny("llama", hidden_size=width), BLOCKS[:4]
    plan = {f"mlp.{layer}": torch.arange(0, 48, 2) for layer in range(3)}
    ridges = [1e-6, 1e-3, 1e-1, 1e1, 1e3]
    chosen = solve(model, plan, tmp_path / "all", blocks=few, ridges=ridges)
    for place, solved in chosen.items():
        # By hand: every λ fitted to three sequences, measured on the fourth.
        layer, kept = units_of(model, ["neurons"])[place].linears[-1], plan[place]
        x, y = (part.unflatten(0, (24, 17))[:4] for part in watched(model, layer))
        d = y - x[..., kept] @ layer.weight[:, kept].double().T
        shares = {}
        for ridge in ridges:
            change = naive(x[:3, :, kept].flatten(0, 1), d[:3].flatten(0, 1), ridge)
            shares[ridge] = float((d[3] - x[3][:, kept] @ change.T).square().sum() / d[3].square().sum())
        assert solved.ridge == min(shares, key=shares.__getitem__)
        assert solved.left == pytest.approx(shares[solved.ridge], rel=apart)
    more = solve(model, plan, tmp_path / "more", ridges=ridges)
    if width == 32:
        assert sum(x.ridge for x in more.values()) < sum(x.ridge for x in chosen.values()), "few need more"


@pytest.mark.parametrize("own", [1.0, 1e-2, 3e-6])
def test_equals_the_normal_equations_in_float64_where_float32_does_not_suffice_either(own: float) -> None:
    """The share of the last input that the others do not foretell is `own`."""
    x, d = torch.randn(2, 400, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, -1] = x[:, 0] + own**0.5 * x[:, -1]
    sums = Lost(400, *(part.float() for part in (x.T @ x, d.T @ x, x.sum(0), d.sum(0), d.square().sum())))
    gram, cross = sums.gram.double().numpy(), sums.cross.double().numpy()
    expected = np.linalg.solve(gram + 1e-7 * gram.diagonal().mean() * np.eye(40), cross.T).T
    np.testing.assert_allclose(change(sums, 1e-7)[0], expected, atol=1e-4 * np.abs(expected).max())


def test_one_pass_serves_all_plans_and_neither_a_kill_nor_the_batch_size_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS["gemma3"]()
    plans = {name: random_plan(model, kind) for name, kind in (("a", "groups"), ("b", "unequal widths"))}
    read: list[int] = []
    for number, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(lambda *_, number=number: read.append(number))
    whole = solve_all(model, plans, tmp_path / "whole", batch_tokens=17 * 30)
    assert sorted(read) == [0, 0, 1, 1, 2, 2], "each layer reads both parts of the calibration once"
    alone = solve(model, plans["b"], tmp_path / "alone", batch_tokens=17)
    for place, solved in alone.items():
        torch.testing.assert_close(solved.weight, whole["b"][place].weight, rtol=1e-4, atol=1e-5)
    files = {path: sha256(path) for path in tmp_path.glob("whole/*/*")}
    assert len(files) == 9

    def killed(path: Path, *args, **more) -> None:
        if path.name == "mlp.1.safetensors":
            raise KeyboardInterrupt
        save_solved(path, *args, **more)

    state = tmp_path / "killed"
    monkeypatch.setattr(reconstruction, "save_solved", killed)
    with pytest.raises(KeyboardInterrupt):
        solve_all(model, plans, state, batch_tokens=17 * 30)
    before = {path: path.stat().st_mtime_ns for path in state.glob("*/*")}
    assert before
    assert not any(module._forward_hooks for module in model.modules()), "no hook is left"
    monkeypatch.setattr(reconstruction, "save_solved", save_solved)
    again = solve_all(model, plans, state, batch_tokens=17 * 30)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for name, places in whole.items():
        assert again[name].keys() == places.keys()
        assert all(torch.equal(solved.weight, again[name][place].weight) for place, solved in places.items())
    # Of other settings, nothing is taken over.
    solve_all(model, plans, tmp_path / "whole", ridges=[1.0], identity="other", batch_tokens=17 * 30)
    assert {path: sha256(path) for path in tmp_path.glob("whole/*/*")} != files


@pytest.mark.parametrize(("family", "kind"), [case for case in CASES if case[0] != "qwen2"])
def test_put_into_the_sliced_model(family: str, kind: str, tmp_path: Path) -> None:
    dense = MODELS[family]()
    plan, (path, source) = random_plan(dense, kind), saved(dense, kind, tmp_path)
    expected = copy.deepcopy(dense)
    for place, solved in load_solved(path).items():  # in the dense model: the other inputs are masked
        units = units_of(expected, ["neurons", "key_value_groups"])[place]
        units.linears[-1].weight[:, inputs_of(units, plan[place])] = solved.weight
    apply_plan(sliced := copy.deepcopy(dense), plan)
    with torch.no_grad():
        plain = sliced(BLOCKS).logits
        apply_linear(sliced, plan, path, source)
        with masked(expected, plan):
            wanted = expected(BLOCKS).logits
        torch.testing.assert_close(sliced(BLOCKS).logits, wanted, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(plain, wanted, atol=1e-2)


def saved(dense: PreTrainedModel, kind: str, folder: Path, **settings) -> tuple[Path, dict[str, Path]]:
    """Solve a plan, write it, and return the file and the files of model and plan."""
    inputs = {"model": folder / "model", "plan": folder / "plan.safetensors"}
    dense.save_pretrained(inputs["model"], max_shard_size="60KB")
    plan = random_plan(dense, kind)
    save_plan(inputs["plan"], plan, {})
    solved = solve(dense, plan, folder / "state", **settings)
    made = {"inputs": {role: identity(path) for role, path in inputs.items()}}
    save_solved(folder / "linear.safetensors", solved, made)
    return folder / "linear.safetensors", inputs


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_an_infinite_ridge_is_flaps_compensation(family: str, tmp_path: Path, tokenizer: Path) -> None:
    """Σ over pruned inputs of their mean times their column, whatever the architecture; few tokens are enough."""
    dense = MODELS[family]().double()
    plan = random_plan(dense, "groups")
    path, source = saved(dense, "groups", tmp_path, ridges=[math.inf])
    expected, units = copy.deepcopy(dense), units_of(dense, ["neurons", "key_value_groups"])
    for place, solved in load_solved(path).items():
        layer, kept = units[place].linears[-1], inputs_of(units[place], plan[place])
        mask = torch.zeros(layer.in_features, dtype=torch.bool)
        mask[kept] = True
        flap = (watched(dense, layer)[0].mean(0) * ~mask) @ layer.weight.T
        torch.testing.assert_close(solved.bias, flap, rtol=1e-9, atol=1e-12)
        assert torch.equal(solved.weight, layer.weight[:, kept])
        units_of(expected, [units[place].kind])[place].linears[-1].bias = torch.nn.Parameter(flap)
    few = solve(dense, plan, tmp_path / "few", blocks=BLOCKS[:2], ridges=[math.inf])
    assert few.keys() == load_solved(path).keys()
    apply_plan(cut := copy.deepcopy(dense), plan)
    apply_linear(cut, plan, path, source)
    with torch.no_grad(), masked(expected, plan):
        logits = expected(BLOCKS).logits
        torch.testing.assert_close(cut(BLOCKS).logits, logits, rtol=1e-8, atol=1e-10)
    if family == "llama":  # whose configuration has room for biases
        cut.save_pretrained(tmp_path / "out")
        again = reload(tmp_path / "out")
        assert again.config.mlp_bias and again.config.attention_bias
        assert torch.equal(again(BLOCKS).logits, cut(BLOCKS).logits)
    else:
        with pytest.raises(
            HfpruneError, match=r"export: transformers' Qwen\dForCausalLM has no model\.layers"
        ):
            export(cut, tokenizer, tmp_path / "out")


def test_as_many_tokens_as_inputs_determine_the_weights_and_fewer_do_not() -> None:
    x, d = (torch.randn(3, n, generator=torch.Generator().manual_seed(n)).double() for n in (3, 2))

    def solved(tokens: int) -> Tensor:
        read, lacking = x[:tokens], d[:tokens]
        squares = (read.T @ read, lacking.T @ read, read.sum(0), lacking.sum(0), lacking.square().sum())
        return change(Lost(tokens, *squares), 0.0)[0]

    torch.testing.assert_close(solved(3).T, torch.linalg.solve(x, d))
    with pytest.raises(HfpruneError, match=r"^2 calibration tokens"):
        solved(2)


@pytest.mark.parametrize(
    ("blocks", "kind", "message"),
    [
        (
            BLOCKS[:2],
            "equal widths",
            "^mlp.0: 17 calibration tokens, besides those held out, do not determine",
        ),
        (BLOCKS[:1], "equal widths", "two calibration sequences or more"),
        (BLOCKS + 97, "equal widths", "tokens that the model does not have"),
        (BLOCKS, "layers", "cuts whole layers only"),
    ],
)
def test_what_cannot_be_solved_is_one_line(blocks: Tensor, kind: str, message: str, tmp_path: Path) -> None:
    model = MODELS["llama"]()
    with pytest.raises(HfpruneError, match=message) as error:
        solve(model, random_plan(model, kind), tmp_path, blocks=blocks)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


def test_activations_that_are_not_finite_are_named_and_what_was_solved_before_stays(tmp_path: Path) -> None:
    model = MODELS["llama"]()
    model.model.layers[1].mlp.up_proj.weight[3] = float("nan")
    with pytest.raises(HfpruneError, match=r"activations at mlp\.1 are not finite"):
        solve(model, random_plan(model, "equal widths"), tmp_path)
    assert [path.name for path in tmp_path.glob("*/*")] == ["mlp.0.safetensors"]


@pytest.mark.parametrize("weights", ["dead", "equal"])
def test_linearly_dependent_neurons_need_a_ridge(weights: str, tmp_path: Path) -> None:
    model = MODELS["llama"]()
    plan, mlp = random_plan(model, "equal widths"), model.model.layers[1].mlp
    first, second = plan["mlp.1"][:2].tolist()
    for layer in (mlp.gate_proj, mlp.up_proj):
        layer.weight[second] = layer.weight[first] * (weights == "equal")
    with pytest.raises(HfpruneError, match=r"^mlp\.1: the inputs that stay are linearly dependent"):
        solve(model, plan, tmp_path, ridges=[0.0])
    solved = solve(model, plan, tmp_path, ridges=[0.0, 1e-3], identity="other")["mlp.1"]
    assert solved.ridge == 1e-3 and solved.weight.isfinite().all()
    for ridge in (-1.0, math.nan):
        with pytest.raises(ValidationError, match="greater than or equal to 0"):
            Linear(ridges=[ridge])


def test_a_file_of_another_model_or_plan_is_refused(tmp_path: Path) -> None:
    dense = MODELS["llama"]()
    plan, (path, source) = random_plan(dense, "equal widths"), saved(dense, "equal widths", tmp_path)
    apply_plan(dense, plan)
    save_plan(other := tmp_path / "other.safetensors", plan | {"mlp.0": torch.arange(len(plan["mlp.0"]))}, {})
    for file, inputs, message in (
        (path, source | {"plan": other}, "this recovery was made for another plan"),
        (path, source | {"model": path}, "this recovery was made for another model"),
        (source["plan"], source, "no linear recovery, or a damaged one"),
    ):
        with pytest.raises(HfpruneError, match=message):
            apply_linear(dense, plan, file, inputs)
