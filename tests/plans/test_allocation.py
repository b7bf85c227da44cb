"""Which layers keep how many neurons: rankings, aligned widths, unequal widths in memory and on disk."""

from pathlib import Path

import pytest
import torch
from conftest import build_tiny, reload

from hfprune.errors import HfpruneError
from hfprune.exports.checkpoint import export
from hfprune.files import read_json
from hfprune.models.units import count_parameters, units_of
from hfprune.plans.allocation import keep_globally, keep_jointly, keep_uniformly
from hfprune.plans.counts import kept_units
from hfprune.plans.planning import apply_plan, make_plan
from hfprune.settings import validate
from hfprune.settings.allocation import Allocation
from hfprune.study.method import Method

LAYERS, WIDTH = 3, 48


def scores_of_unequal_layers(seed: int = 0) -> list[torch.Tensor]:
    """Layers that differ in scale and in spread, with ties."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.rand(WIDTH, generator=generator, dtype=torch.float64) for _ in range(LAYERS)]
    return [(layer * draw**layer).mul(20).round() / 20 for layer, draw in enumerate(draws, 1)]


def by_place(of_layers: list[torch.Tensor], place: str = "mlp") -> dict[str, torch.Tensor]:
    return {f"{place}.{layer}": torch.as_tensor(x) for layer, x in enumerate(of_layers)}


def one_at_a_time(scores: list[torch.Tensor], count: int, least: int, standardize: bool) -> list[list[int]]:
    """Drop the lowest neuron of all layers above their floor, of equals the last, until `count` remain."""
    values = [s.tolist() for s in scores]
    if standardize:
        values = [((s - s.mean()) / (s.var() ** 0.5)).tolist() for s in scores]
    kept = [list(range(len(v))) for v in values]
    while sum(map(len, kept)) > count:
        above = [layer for layer in range(len(kept)) if len(kept[layer]) > least]
        _, layer, i = min((values[layer][i], -layer, -i) for layer in above for i in kept[layer])
        kept[-layer].remove(-i)
    return kept


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("floor", [0.02, 0.25, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_global_cut_is_that_of_dropping_one_neuron_at_a_time(
    standardize: bool, floor: float, seed: int, monkeypatch
) -> None:
    monkeypatch.setattr("hfprune.plans.allocation.FLOOR", floor)
    scores = scores_of_unequal_layers(seed)
    for count in (WIDTH * LAYERS, 120, 91):
        mine = [kept.tolist() for kept in keep_globally(scores, count, standardize)]
        assert mine == one_at_a_time(scores, count, max(1, round(floor * WIDTH)), standardize)
    assert len({len(kept) for kept in mine}) > 1


def test_a_layer_of_equal_scores_has_a_scale_and_each_keeps_a_floor() -> None:
    scores = scores_of_unequal_layers()
    constant = [torch.ones(WIDTH, dtype=torch.float64), *scores[1:]]
    assert sum(map(len, keep_globally(constant, 90, True))) == 90
    with pytest.raises(HfpruneError, match="10 % of each layer stay, 15 neurons, but the ratio leaves 14"):
        keep_globally(scores, 14)


def test_global_plan_has_the_parameters_of_the_uniform_one(tiny, tokens, tmp_path, tokenizer: Path) -> None:
    """And its plain export, padded with zeros to the widest layer, loads as the same function.

    In float64, since a sum over more terms, zeros though they be, is rounded otherwise.
    """
    tiny.double()
    dense = {name: p.clone() for name, p in tiny.named_parameters()}
    scores = by_place(scores_of_unequal_layers()) | {f"attention.{i}": torch.rand(2) for i in range(LAYERS)}
    shares = {"neurons": None, "key_value_groups": None}
    plan = make_plan(tiny, scores, 0.2, shares, Allocation(rule="global"))
    widths = [len(plan[f"mlp.{layer}"]) for layer in range(LAYERS)]
    assert len(set(widths)) > 1
    assert sum(widths) == LAYERS * kept_units(tiny, 0.2, shares)["neurons"]
    apply_plan(tiny, plan)
    down = tiny.model.layers[1].mlp.down_proj.weight
    assert torch.equal(down, dense["model.layers.1.mlp.down_proj.weight"][:, plan["mlp.1"]])

    logits, parameters = tiny(tokens).logits, count_parameters(tiny)
    on_disk = export(tiny, tokenizer, tmp_path / "out", {"settings": {"dtype": None}}, plain=True)
    assert count_parameters(tiny) == parameters, "the model in memory is left alone"
    loaded = reload(tmp_path / "out")
    torch.testing.assert_close(loaded(tokens).logits, logits, rtol=1e-12, atol=1e-12)
    assert loaded.config.intermediate_size == max(widths)
    per_neuron = 3 * 32 + 2 * (tiny.model.layers[0].mlp.gate_proj.bias is not None)
    assert on_disk == count_parameters(loaded) == parameters + (3 * max(widths) - sum(widths)) * per_neuron
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert read_json(out / "provenance.json")["files"].keys() == files - {"provenance.json"}


# --- aligned widths --------------------------------------------------------------------------------------

# Three layers of seven neurons; the pairs, from the highest: 13 9 5, 17 8 3 and 10 5.5 2, and one neuron is over.
SEVEN = [
    torch.tensor([3.0, 7.0, 4.0, 6.0, 5.0, 2.0, 0.0]),
    torch.tensor([9.0, 8.0, 5.0, 3.0, 2.0, 1.0, 0.0]),
    torch.tensor([1.0, 2.5, 3.0, 4.0, 6.0, 0.0, 1.0]),
]


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        # 3 a layer, 9 in all, so 4 pairs (4.5 to the even): one each, and the best second pair, 9 of layer 0.
        (3, [[1, 2, 3, 4], [0, 1], [3, 4]]),
        # 4 a layer: two pairs each, whatever the scores.
        (4, [[1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3, 4]]),
        # 5 a layer, 15 in all, so 8 pairs: two each, and the best two third pairs, 5 of layer 0 and 3 of layer 1.
        (5, [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4]]),
    ],
)
def test_uniform_widths_in_pairs_by_hand(count: int, kept: list[list[int]]) -> None:
    assert [layer.tolist() for layer in keep_uniformly(SEVEN, count, 2)] == kept


# Unlike layers, of 8, 4 and 12 neurons: a pruned model's.
UNLIKE = [torch.arange(8.0), torch.arange(4.0) / 4, torch.arange(12.0) * 2]


@pytest.mark.parametrize(
    ("count", "align", "widths"),
    [
        (6, 1, [6, 3, 9]),
        # 5, 2.5 and 7.5: the neuron that is over goes to the last layer, whose next score is 8, and not to 0.25.
        (5, 1, [5, 2, 8]),
        (4.6, 1, [5, 2, 7]),
        # 23.7 in all: those that are over complete every layer.
        (7.9, 1, [8, 4, 12]),
        # In pairs 4.6 of 8, 2.3 of 4 and 6.9 of 12: 13.8 in all are seven pairs.
        (4.6, 2, [4, 2, 8]),
        (1, 1, [1, 1, 1]),
    ],
)
def test_unlike_layers_keep_the_same_share_by_hand(count: float, align: int, widths: list[int]) -> None:
    kept = keep_uniformly(UNLIKE, count, align)
    assert [len(layer) for layer in kept] == widths
    for layer, scores in zip(kept, UNLIKE, strict=True):
        assert layer.tolist() == [*range(len(scores) - len(layer), len(scores))], "the highest"


def test_an_alignment_that_cannot_be_is_one_line(tiny) -> None:
    scores = by_place(scores_of_unequal_layers())
    for align in (64, 48):
        with pytest.raises(HfpruneError, match=rf"align {align}: 3 layers of 48 neurons .* choose a smaller"):
            make_plan(tiny, scores, 0.2, allocation=Allocation(align=align))
    plan = make_plan(tiny, scores, 0.2, allocation=Allocation(align=8))
    assert {len(kept) % 8 for kept in plan.values()} == {0}


# --- one ranking of neurons and groups -------------------------------------------------------------------

# Hidden size 2, two heads of 2, no biases: a neuron has 6 parameters, a group 16.
SMALL = {"hidden_size": 2, "intermediate_size": 3, "num_attention_heads": 2, "num_key_value_heads": 2}


WHOLE = {"mlp.0": [0, 1, 2], "mlp.1": [0, 1, 2], "attention.0": [0, 1], "attention.1": [0, 1]}


def cut(mlps: list[list[float]], groups: list[list[float]], goal: float) -> dict[str, list[int]]:
    """Cut two layers by scores of their neurons and groups; return what is not kept whole."""
    model = build_tiny("llama", **SMALL, head_dim=2, num_hidden_layers=2)
    units = units_of(model, ["neurons", "key_value_groups"])
    assert {unit.parameters for unit in units.values()} == {6, 16}
    scores = by_place(mlps) | by_place(groups, "attention")
    kept = {name: x.tolist() for name, x in keep_jointly(units, scores, goal).items()}
    assert kept.keys() == WHOLE.keys()
    return {name: x for name, x in kept.items() if x != WHOLE[name]}


@pytest.mark.parametrize(
    ("goal", "kept"),
    [
        # In the order 1 2 (the group 2.5 of 16) 3 4: a neuron has 6 parameters.
        (12, {"mlp.0": [1, 2], "mlp.1": [1, 2]}),
        (28, {"mlp.0": [1, 2], "mlp.1": [1, 2], "attention.1": [1]}),
        # The group would exceed the goal and stays; the neurons after it go.
        (18, {"mlp.0": [2], "mlp.1": [1, 2]}),
        # The last neuron and the last group of a layer stay, whatever their scores.
        (56, {"mlp.0": [2], "mlp.1": [2], "attention.0": [1], "attention.1": [1]}),
    ],
)
def test_one_ranking_of_neurons_and_groups_by_hand(goal: float, kept: dict) -> None:
    assert cut([[1.0, 3.0, 3.5], [2.0, 4.0, 4.5]], [[5.0, 6.0], [2.5, 2.75]], goal) == kept


def test_one_ranking_keeps_the_first_of_equals() -> None:
    equal, high = [[1.0, 1.0, 1.0]] * 2, [[9.0, 9.0]] * 2
    assert cut(equal, high, 18) == {"mlp.0": [0, 1], "mlp.1": [0]}
    with pytest.raises(HfpruneError, match="joint removes 56 parameters where the ratio asks for 70"):
        cut(equal, high, 70)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allocation": "joint"}, "allocation joint ranks neurons and key_value_groups: give both"),
        ({"units": {"neurons": 0.5, "key_value_groups": 0.5}, "allocation": "joint"}, "without shares"),
        ({"allocation": {"rule": "joint", "standardize": True}}, "standardize belongs to the rule 'global'"),
        ({"allocation": {"rule": "joint", "align": 2}}, "align belongs to the rule 'uniform'"),
        ({"allocation": {"rule": "global", "spare": [1, 0]}}, "spare belongs to the rule 'uniform'"),
        ({"units": "layers", "allocation": {"spare": [1, 0]}}, "do not give layers as units"),
    ],
)
def test_an_allocation_that_cannot_be_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=f"^m: .*{message}"):
        validate(Method, settings, "m")
