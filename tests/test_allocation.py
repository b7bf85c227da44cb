"""One ranking over all layers: the cut, and layers of unequal width in memory and on disk."""

import json
from pathlib import Path

import pytest
import torch
from conftest import build_tiny, reload

from hfprune.errors import HfpruneError
from hfprune.plans import (
    apply_plan,
    count_parameters,
    export,
    floor_width,
    keep_globally,
    kept_units,
    make_plan,
)
from hfprune.study import Allocation

LAYERS, WIDTH = 3, 48


def scores_of_unequal_layers(seed: int = 0) -> list[torch.Tensor]:
    """Layers that differ in scale and in spread, with ties."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.rand(WIDTH, generator=generator, dtype=torch.float64) for _ in range(LAYERS)]
    return [(layer * draw**layer).mul(20).round() / 20 for layer, draw in enumerate(draws, 1)]


def one_at_a_time(scores: list[torch.Tensor], count: int, least: int, standardize: bool) -> list[list[int]]:
    """Drop the lowest neuron of all layers above their floor, of equals the last, until `count` remain."""
    values = [s.tolist() for s in scores]
    if standardize:
        values = [((s - s.mean()) / (s.var() ** 0.5)).tolist() for s in scores]
    kept = [list(range(len(v))) for v in values]
    while sum(map(len, kept)) > count:
        candidates = [
            (values[layer][i], -layer, -i)
            for layer in range(len(kept))
            for i in kept[layer]
            if len(kept[layer]) > least
        ]
        _, layer, i = min(candidates)
        kept[-layer].remove(-i)
    return kept


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("floor", [0.02, 0.25, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_global_cut_is_that_of_dropping_one_neuron_at_a_time(
    standardize: bool, floor: float, seed: int
) -> None:
    scores = scores_of_unequal_layers(seed)
    allocation = Allocation(rule="global", standardize=standardize, floor=floor)
    for count in (WIDTH * LAYERS, 120, 91):
        mine = [kept.tolist() for kept in keep_globally(scores, count, allocation)]
        assert mine == one_at_a_time(scores, count, floor_width(WIDTH, floor), standardize)
    assert len({len(kept) for kept in mine}) > 1


def test_scale_of_a_layer_does_not_matter_once_standardised() -> None:
    scores = scores_of_unequal_layers()
    scaled = [s * 1000**layer + layer for layer, s in enumerate(scores)]
    plain, standardised = (Allocation(rule="global", standardize=flag, floor=0.1) for flag in (False, True))
    same = zip(keep_globally(scores, 90, standardised), keep_globally(scaled, 90, standardised), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert len(keep_globally(scaled, 90, plain)[0]) == floor_width(WIDTH, 0.1)
    constant = [torch.ones(WIDTH, dtype=torch.float64), *scores[1:]]
    assert sum(map(len, keep_globally(constant, 90, standardised))) == 90


def test_floor_above_the_budget_is_one_line(tiny) -> None:
    with pytest.raises(
        HfpruneError, match=r"a floor of 0\.9 keeps 129 neurons, but the ratio leaves \d+: lower"
    ):
        make_plan(tiny, scores_of_unequal_layers(), 0.2, allocation=Allocation(rule="global", floor=0.9))


@pytest.mark.parametrize("parts", ["mlp", "mlp+attention"])
def test_global_plan_has_the_parameters_of_the_uniform_one(
    tiny, tokens, parts, tmp_path, tokenizer: Path
) -> None:
    """And its export, padded with zeros to the widest layer, loads plainly as the same function.

    In float64, since a sum over more terms, zeros though they be, is rounded otherwise.
    """
    tiny.double()
    dense = {name: p.clone() for name, p in tiny.named_parameters()}
    scores = scores_of_unequal_layers() + [torch.rand(2) for _ in range(LAYERS * (parts != "mlp"))]
    plan = make_plan(tiny, scores, 0.2, parts, Allocation(rule="global", floor=0.1))
    widths = [len(kept) for kept in plan[:LAYERS]]
    assert len(set(widths)) > 1
    assert sum(widths) == LAYERS * kept_units(tiny, 0.2, parts)[0]
    apply_plan(tiny, plan)
    down = tiny.model.layers[1].mlp.down_proj.weight
    assert torch.equal(down, dense["model.layers.1.mlp.down_proj.weight"][:, plan[1]])

    logits, parameters = tiny(tokens).logits, count_parameters(tiny)
    on_disk = export(tiny, tokenizer, tmp_path / "out", {"settings": {"dtype": None}})
    assert count_parameters(tiny) == parameters, "the model in memory is left alone"
    loaded = reload(tmp_path / "out")
    torch.testing.assert_close(loaded(tokens).logits, logits, rtol=1e-12, atol=1e-12)
    assert loaded.config.intermediate_size == max(widths)
    per_neuron = 3 * 32 + 2 * (tiny.model.layers[0].mlp.gate_proj.bias is not None)
    assert on_disk == count_parameters(loaded) == parameters + (3 * max(widths) - sum(widths)) * per_neuron
    assert json.loads((tmp_path / "out/provenance.json").read_text()) == {
        "parameters": parameters,
        "parameters_on_disk": on_disk,
        "settings": {"dtype": None},
    }


def test_padded_weights_are_zeros_behind_the_kept(tmp_path: Path, tokenizer: Path) -> None:
    model = build_tiny("llama-bias")
    apply_plan(model, [torch.arange(10), torch.arange(20), torch.arange(30)])
    export(model, tokenizer, tmp_path / "out")
    for mlp, ours in zip(
        (x.mlp for x in reload(tmp_path / "out").model.layers), model.model.layers, strict=True
    ):
        kept = ours.mlp.down_proj.in_features
        assert torch.equal(mlp.up_proj.weight[:kept], ours.mlp.up_proj.weight)
        for padding in (
            mlp.gate_proj.weight[kept:],
            mlp.gate_proj.bias[kept:],
            mlp.down_proj.weight[:, kept:],
        ):
            assert padding.numel() == 0 or not padding.any()
