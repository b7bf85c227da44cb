from pathlib import Path

import pytest
import torch
from conftest import build_tiny

from hfprune.errors import HfpruneError
from hfprune.evaluation.ablation import ablate, sample_neurons
from hfprune.models.head import hidden_states


def test_damage_is_the_divergence_of_a_model_without_the_neuron(tiny, tokens) -> None:
    tiny.double()
    neurons = [torch.tensor([3, 40]), torch.tensor([0]), torch.tensor([5, 6, 47])]
    found = ablate(tiny, tokens, neurons, batch_tokens=34)
    pairs = [(layer, int(neuron)) for layer, chosen in enumerate(neurons) for neuron in chosen]
    assert list(zip(found["layer"], found["neuron"], strict=True)) == pairs
    dense = tiny(tokens).logits.log_softmax(-1)
    for (layer, neuron), damage in zip(pairs, found["damage"], strict=True):
        weight = tiny.model.layers[layer].mlp.down_proj.weight
        column = weight[:, neuron].clone()
        weight[:, neuron] = 0
        ablated = tiny(tokens).logits.log_softmax(-1)
        weight[:, neuron] = column
        naive = float((dense.exp() * (dense - ablated)).sum(-1).mean())
        assert damage == pytest.approx(naive, rel=1e-3), (layer, neuron)
    assert not any(layer.mlp.down_proj._forward_pre_hooks for layer in tiny.model.layers)


def test_float32_resolves_neurons_that_hardly_matter(tokens) -> None:
    tiny = build_tiny("qwen2")
    for layer in tiny.model.layers:
        layer.mlp.down_proj.weight *= 1e-3
    neurons = sample_neurons(tiny, 4, seed=0)
    rough = ablate(tiny, tokens, neurons, batch_tokens=10**6)["damage"]
    exact = ablate(tiny.double(), tokens, neurons, batch_tokens=17)["damage"]
    assert exact.max() < 1e-5
    assert rough.to_numpy() == pytest.approx(exact.to_numpy(), rel=0.05)


def test_neurons_are_drawn_by_seed_and_never_twice() -> None:
    tiny = build_tiny("llama")
    one, again, other = (sample_neurons(tiny, 20, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[0], one[1]), "layers do not share a stream"
    assert all(len(chosen.unique()) == 20 for chosen in one)
    assert all(torch.equal(chosen, torch.arange(48)) for chosen in sample_neurons(tiny, 100, 0))


def test_killed_ablation_goes_on_to_the_same_damage(tokens, tmp_path: Path, monkeypatch) -> None:
    tiny = build_tiny("qwen3")
    neurons, state = sample_neurons(tiny, 3, seed=0), tmp_path / "state.safetensors"
    expected = ablate(tiny, tokens, neurons, 51)
    calls = 0

    def counted(*arguments):
        nonlocal calls
        calls += 1
        if calls == 10:  # four calls a sequence: the dense model, then a layer each
            raise KeyboardInterrupt
        return hidden_states(*arguments)

    monkeypatch.setattr("hfprune.evaluation.ablation.hidden_states", counted)
    with pytest.raises(KeyboardInterrupt):
        ablate(tiny, tokens, neurons, 51, state, "a")
    assert ablate(tiny, tokens, neurons, 51, state, "a").equals(expected)
    assert calls == 10 + 4 * 4, "two of six sequences were not read again"


def test_blocks_of_another_model_are_refused(tiny, tokens) -> None:
    with pytest.raises(HfpruneError, match="of another model"):
        ablate(tiny, tokens + 50, sample_neurons(tiny, 1, 0), 100)
