"""FLAP and LLM-Pruner whole, against their published formulas, written down here once more in plain PyTorch."""

from itertools import chain

import pytest
import torch
from conftest import assert_near, build_tiny
from torch import Tensor
from torch.nn.functional import cross_entropy

from hfprune.criteria import make_criterion
from hfprune.models.units import count_parameters, units_of
from hfprune.plans.planning import make_plan
from hfprune.scoring.score import score
from hfprune.settings.allocation import Allocation

BOTH = ("neurons", "key_value_groups")
LAYERS, HEAD = 6, 8
# A LLaMA without shared heads, as both were written for; and one with.
MODELS = {
    "mha": {"num_attention_heads": 4, "num_key_value_heads": 4},
    "gqa": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": HEAD},
}
BLOCKS = torch.randint(0, 97, (10, 33), generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest):
    return build_tiny("llama", num_hidden_layers=LAYERS, **MODELS[request.param]).double()


def flap(model, ratio: float) -> tuple[Tensor, Tensor]:
    """Return the masks [layers, ...] of heads and of neurons, as `prune_flap` makes them (AL-AM).

    Heads are key-value groups. The weight of a head in the budget is its parameters in neurons (512 / 3 in
    LLaMA-7B), and the budget is a share of all parameters.
    """
    heads, neurons, caught = [], [], {}
    readers = [(layer.self_attn.o_proj, layer.mlp.down_proj) for layer in model.model.layers]
    for part in chain(*readers):
        part.register_forward_pre_hook(lambda part, x: caught.update({part: x[0].detach().flatten(0, 1)}))
    model(BLOCKS)
    for attention, mlp in readers:
        heads.append((caught[attention].var(0) * attention.weight.pow(2).sum(0)) ** 2)
        neurons.append(caught[mlp].var(0) * mlp.weight.pow(2).sum(0))
    count = model.config.num_key_value_heads
    of_heads, of_neurons = [
        (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in map(torch.stack, (heads, neurons))
    ]
    of_heads = of_heads.reshape(LAYERS, count, -1).mean(2)
    ranking = torch.cat([of_heads.flatten(), of_neurons.flatten()])
    first = model.model.layers[0]
    head = sum(getattr(first.self_attn, f"{part}_proj").weight.numel() for part in "qkvo") / count
    neuron = 3 * model.config.hidden_size
    ordered, order = ranking.sort(descending=True)
    weights = torch.where(order < of_heads.numel(), head, neuron)
    off = (weights.cumsum(0) - (weights.sum() - ratio * count_parameters(model))).abs()
    last = off.argmin()
    assert off[last] <= neuron / 2, (
        "a head at the threshold, which ours keeps where it would exceed the budget"
    )
    # FLAP keeps what is above the threshold, and so one unit less than comes nearest to the budget.
    return of_heads >= ordered[last], of_neurons >= ordered[last]


@pytest.mark.parametrize("ratio", [0.26, 0.3])
def test_flap_whole_keeps_what_its_formulas_keep(model, ratio: float) -> None:
    criterion = make_criterion("flap", {"standardize": True}, units=BOTH)
    scores = score({"it": criterion}, model, BLOCKS, BOTH)["it"].scores
    plan = make_plan(model, scores, ratio, dict.fromkeys(BOTH), Allocation(rule="joint"))
    heads, neurons = flap(model, ratio)
    for layer in range(LAYERS):
        assert plan[f"attention.{layer}"].tolist() == heads[layer].nonzero().flatten().tolist(), layer
        assert plan[f"mlp.{layer}"].tolist() == neurons[layer].nonzero().flatten().tolist(), layer
    for kind in ("attention", "mlp"):
        assert len({len(plan[f"{kind}.{layer}"]) for layer in range(LAYERS)}) > 1, "layers differ"


def test_llm_pruner_whole_spares_layers_and_cuts_the_others_alike(model) -> None:
    """Of the scores, whose formula a test below has: the same share of every layer that is not spared."""
    scores = score({"it": make_criterion("taylor", {}, units=BOTH)}, model, BLOCKS, BOTH)["it"].scores
    ratio = 0.25
    plan = make_plan(model, scores, ratio, dict.fromkeys(BOTH), Allocation(spare=(2, 1)))
    widths = set()
    for layer in range(LAYERS):
        places = [f"{kind}.{layer}" for kind in ("attention", "mlp")]
        kept = [plan[place] for place in places]
        if layer in (0, 1, 5):
            assert [len(x) for x in kept] == [4, 48]
            continue
        widths.add((len(kept[0]), len(kept[1])))
        for place, mine in zip(places, kept, strict=True):
            assert mine.tolist() == scores[place].argsort(descending=True)[: len(mine)].sort().values.tolist()
    ((groups, width),) = widths
    assert groups < 4 and width < 48, "the same of both in every layer that is not spared"
    total, units = count_parameters(model), units_of(model, BOTH)
    removed = sum((unit.count - len(plan[name])) * unit.parameters for name, unit in units.items())
    assert removed / total == pytest.approx(ratio, abs=3 * 0.5 * 96 / total + 1e-9)


def test_weight_forms_of_groups_whole_and_in_parts(model) -> None:
    """However the passes are shared and split, a group's score is that of its own formula."""
    gradients: dict[str, list[Tensor]] = {}
    model.requires_grad_(True)
    for block in BLOCKS:
        model.zero_grad()
        cross_entropy(model(block[None]).logits[0, :-1], block[1:]).backward()
        for index, layer in enumerate(model.model.layers):
            for part in "qkvo":
                grad = getattr(layer.self_attn, f"{part}_proj").weight.grad.clone()
                gradients.setdefault(f"{index}{part}", []).append(grad)
    model.zero_grad()
    model.requires_grad_(False)
    formulas = {
        "param_first": lambda w, first, _: (w * first).abs().sum(1),
        "param_second": lambda w, _, second: (w**2 * second).sum(1),
        "param_mix": lambda w, first, second: (w * first - w**2 * second / 2).abs().sum(1),
        "vectorize": lambda w, first, _: (w * first).sum(1).abs(),
    }
    forms = {form: make_criterion("taylor", {"aggregation": form}, units=BOTH) for form in formulas}
    whole = score(forms, model, BLOCKS, BOTH)
    large = {form: forms[form] for form in ("param_first", "param_mix")}
    parts = score(large, model, BLOCKS, BOTH, sums_room=1, batch_tokens=200)
    for form, formula in formulas.items():
        expected = []
        for index, layer in enumerate(model.model.layers):
            of_layer = 0
            for part in "qkvo":
                w = getattr(layer.self_attn, f"{part}_proj").weight.detach()
                each = torch.stack(gradients[f"{index}{part}"])
                w, each = (w.T, each.transpose(1, 2)) if part == "o" else (w, each)
                of_layer = of_layer + formula(w, each.sum(0), each.square().sum(0)).view(4, -1).sum(1)
            expected.append(of_layer)
        for found in (whole, parts) if form in large else (whole,):
            assert_near([found[form].scores[f"attention.{index}"] for index in range(LAYERS)], expected)
