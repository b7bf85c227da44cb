"""Pruning in steps: score what is left, cut a part, and so on; every plan is one of the dense model."""

from copy import deepcopy

import pytest
import torch
from conftest import build_tiny
from official import entropy_loss, official_scores
from torch import Tensor, nn

from hfprune.criteria import make_criterion
from hfprune.models.units import count_parameters, units_of
from hfprune.plans.planning import Plan, apply_plan, make_plan, scores_of_dense
from hfprune.scoring.score import score
from hfprune.settings.allocation import Allocation

LAYERS, WIDTH, STEPS = 3, 48, 4


def left_scores(model: nn.Module, tokens: Tensor, kinds: list[str], plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the entropy scores of what a plan has left, as they are and as scores of the dense model."""
    counts = {place: units.count for place, units in units_of(model, kinds).items()}
    left = deepcopy(model)
    if plan:
        apply_plan(left, plan)
    scores = score({"it": make_criterion("entropy", {})}, left, tokens, kinds)["it"].scores
    return scores, scores_of_dense(scores, plan, counts)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_four_steps_of_one_neuron_are_a_loop_made_by_hand(architecture: str, tokens) -> None:
    model = build_tiny(architecture)
    ratio = STEPS * LAYERS * 3 * model.config.hidden_size / count_parameters(model)
    plan: Plan = {}
    for step in range(1, STEPS + 1):
        _, scores = left_scores(model, tokens, ["neurons"], plan)
        plan = make_plan(model, scores, ratio, part=step / STEPS)
        assert {len(kept) for kept in plan.values()} == {WIDTH - step}

    by_hand = deepcopy(model)
    left = [[*range(WIDTH)] for _ in range(LAYERS)]
    once: list[list[int]] = []
    for _ in range(STEPS):
        found = official_scores(by_hand, tokens, entropy_loss)
        once = once or [sorted(layer.argsort()[STEPS:].tolist()) for layer in found]
        for layer, neurons, of in zip(by_hand.model.layers, left, found, strict=True):
            lowest, mlp = int(of.argmin()), layer.mlp
            del neurons[lowest]
            others = [i for i in range(len(of)) if i != lowest]
            for linear in (mlp.gate_proj, mlp.up_proj):
                linear.weight = nn.Parameter(linear.weight[others], requires_grad=False)
            mlp.down_proj.weight = nn.Parameter(mlp.down_proj.weight[:, others], requires_grad=False)
            mlp.down_proj.in_features = len(others)
    assert [plan[f"mlp.{layer}"].tolist() for layer in range(LAYERS)] == left
    assert left != once, "here steps and one cut give different plans, so that the test can fail"
    apply_plan(model, plan)
    assert torch.equal(model(tokens).logits, by_hand(tokens).logits)


def after(before: Plan, plan: Plan) -> Plan:
    """Return a plan of the dense model as one of the model that `before` made."""
    layers, found = before.get("layers", torch.arange(LAYERS)).tolist(), {}
    for place, kept in plan.items():
        kind, _, layer = place.partition(".")
        here = f"{kind}.{layers.index(int(layer))}" if layer else kind
        found[here] = torch.searchsorted(before[place], kept)
    return found


@pytest.mark.parametrize(
    ("units", "allocation"),
    [
        ({"neurons": None}, Allocation()),
        ({"neurons": None}, Allocation(align=4)),
        ({"neurons": None}, Allocation(rule="global", standardize=True)),
        ({"neurons": None, "key_value_groups": None}, Allocation(rule="joint")),
        ({"neurons": None, "key_value_groups": None}, Allocation()),
        ({"neurons": 0.5, "layers": 0.5}, Allocation()),
    ],
)
def test_a_composed_plan_prunes_as_pruning_twice(units: dict, allocation: Allocation, tokens) -> None:
    dense = build_tiny("llama", num_key_value_heads=4)
    kinds, ratio = [*units], 0.36
    _, scores = left_scores(dense, tokens, kinds, {})
    first = make_plan(dense, scores, ratio, units, allocation, 0.75)
    left, scores = left_scores(dense, tokens, kinds, first)
    composed = make_plan(dense, scores, ratio, units, allocation)
    assert all({*kept.tolist()} <= {*first[place].tolist()} for place, kept in composed.items())
    twice, at_once = deepcopy(dense), deepcopy(dense)
    apply_plan(twice, first)
    between = count_parameters(twice)
    apply_plan(twice, after(first, composed))
    apply_plan(at_once, composed)
    assert torch.equal(twice(tokens).logits, at_once(tokens).logits)
    assert count_parameters(dense) > between > count_parameters(at_once)
    removed = 1 - count_parameters(at_once) / count_parameters(dense)
    assert removed == pytest.approx(ratio, abs=0.02), "the parts come to the whole ratio"
    if allocation == Allocation():  # each place keeps the highest of what is left, counted without the rest
        for place, kept in after(first, composed).items():
            assert left[place].argsort(descending=True)[: len(kept)].sort().values.tolist() == kept.tolist()
