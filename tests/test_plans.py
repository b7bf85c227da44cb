from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import SHAPE, build_tiny, reload
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from hfprune.errors import HfpruneError
from hfprune.plans import (
    apply_plan,
    count_parameters,
    export,
    keep_highest,
    kept_units,
    load_plan,
    make_plan,
    save_plan,
)

# Shapes of the paper's models: (config class, vocabulary, hidden, intermediate, layers, heads, kv heads, tied).
PAPER = {
    "LLaMA-2-7B": (LlamaConfig, 32000, 4096, 11008, 32, 32, 32, False, {}),
    "LLaMA3.2-1.2B": (LlamaConfig, 128256, 2048, 8192, 16, 32, 8, True, {}),
    "LLaMA3.2-3.2B": (LlamaConfig, 128256, 3072, 8192, 28, 24, 8, True, {}),
    "Qwen2.5-7B": (Qwen2Config, 152064, 3584, 18944, 28, 28, 4, False, {}),
    "Qwen2.5-1.5B": (Qwen2Config, 151936, 1536, 8960, 28, 12, 2, True, {}),
    "Qwen3-1.7B": (Qwen3Config, 151936, 2048, 6144, 28, 16, 8, True, {"head_dim": 128}),
}
# Kept neurons per layer and billions of parameters at 20, 30 and 40 %, computed by hand from those shapes.
EXPECTED = {
    "LLaMA-2-7B": [(7581, 5.3909), (5867, 4.7169), (4153, 4.0429)],
    "LLaMA3.2-1.2B": [(5678, 0.9887), (4421, 0.8651), (3163, 0.7414)],
    "LLaMA3.2-3.2B": [(5702, 2.5702), (4457, 2.2489), (3212, 1.9277)],
    "Qwen2.5-7B": [(13885, 6.0924), (11355, 5.3308), (8826, 4.5694)],
    "Qwen2.5-1.5B": [(6567, 1.2349), (5371, 1.0806), (4174, 0.9261)],
    "Qwen3-1.7B": [(4144, 1.3765), (3144, 1.2045), (2143, 1.0323)],
}


@pytest.mark.parametrize("name", PAPER)
def test_widths_of_the_papers_models(name: str) -> None:
    kind, vocabulary, hidden, intermediate, layers, heads, kv_heads, tied, extra = PAPER[name]
    config = kind(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=tied,
        **extra,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    total = count_parameters(model)
    for ratio, (width, billions) in zip((0.2, 0.3, 0.4), EXPECTED[name], strict=True):
        (kept,) = kept_units(model, ratio)
        assert abs(kept - width) <= 1, "to the rounding of one neuron"
        left = total - (intermediate - kept) * layers * 3 * hidden
        assert left / 1e9 == pytest.approx(billions, abs=2e-4)
        assert left / total == pytest.approx(1 - ratio, abs=1e-4)


def test_measured_ratio_is_the_nominal_one_to_half_a_neuron(tiny) -> None:
    """Ties and biases are counted right: what is left after slicing is what the budget said."""
    total = count_parameters(tiny)
    per_neuron = sum(p.numel() for p in tiny.model.layers[0].mlp.parameters()) / SHAPE["intermediate_size"]
    scores = [torch.rand(SHAPE["intermediate_size"]) for _ in tiny.model.layers]
    apply_plan(tiny, make_plan(tiny, scores, 0.15))
    removed = total - count_parameters(tiny)
    assert abs(removed - 0.15 * total) <= 0.51 * per_neuron * SHAPE["num_hidden_layers"]


@pytest.mark.parametrize("ratio", [-0.1, 0, 1, 0.95, float("nan")])
def test_unreachable_ratio_gives_the_largest_reachable(tiny, ratio: float) -> None:
    with pytest.raises(HfpruneError, match=r"at most 0\.\d{3}") as failure:
        kept_units(tiny, ratio)
    largest = float(str(failure.value).split("at most ")[1].split(",")[0])
    assert kept_units(tiny, largest - 0.001) >= [1]
    with pytest.raises(HfpruneError):
        kept_units(tiny, largest + 0.05)


def test_highest_scores_are_kept_and_ties_keep_the_first() -> None:
    assert keep_highest(torch.tensor([0.1, 3.0, 2.0, 5.0]), 2).tolist() == [1, 3]
    assert keep_highest(torch.tensor([1.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 2]


def test_slicing_equals_zeroing_the_pruned_neurons(tiny, tokens) -> None:
    masked = deepcopy(tiny)
    scores = [torch.rand(SHAPE["intermediate_size"]) for _ in tiny.model.layers]
    plan = make_plan(tiny, scores, 0.2)
    for layer, kept in zip(masked.model.layers, plan, strict=True):
        pruned = [i for i in range(SHAPE["intermediate_size"]) if i not in set(kept.tolist())]
        layer.mlp.down_proj.weight[:, pruned] = 0
    dense = tiny(tokens).logits
    apply_plan(tiny, plan)
    torch.testing.assert_close(tiny(tokens).logits, masked(tokens).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(tiny(tokens).logits, dense, atol=1e-2)


def test_export_loads_plainly_with_the_same_logits(tiny, tokens, tmp_path: Path, smollm2: Path) -> None:
    apply_plan(tiny, make_plan(tiny, [torch.rand(48) for _ in range(3)], 0.2))
    export(tiny, smollm2, tmp_path / "out")
    loaded = reload(tmp_path / "out")
    assert loaded.config.intermediate_size == tiny.config.intermediate_size < 48
    assert torch.equal(loaded(tokens).logits, tiny(tokens).logits)
    assert (tmp_path / "out" / "tokenizer.json").exists()
    assert not list((tmp_path / "out").glob("*.bin"))


def test_plan_survives_the_file(tmp_path: Path) -> None:
    plan = [torch.tensor([0, 5, 9]), torch.tensor([1, 2, 3])]
    save_plan(tmp_path / "p.safetensors", plan, {})
    assert all(torch.equal(a, b) for a, b in zip(plan, load_plan(tmp_path / "p.safetensors"), strict=True))


@pytest.mark.parametrize(
    "plan",
    [
        [torch.arange(5)] * 2,
        [torch.arange(5), torch.arange(5), torch.tensor([3, 48])],
        [torch.arange(5), torch.arange(5), torch.tensor([3, 3])],
        [torch.arange(5), torch.arange(5), torch.tensor([], dtype=torch.int64)],
    ],
)
def test_wrong_plan_is_refused_and_the_model_left_alone(plan, tokens) -> None:
    model = build_tiny("llama")
    before = model(tokens).logits
    with pytest.raises(HfpruneError, match="plan"):
        apply_plan(model, plan)
    assert torch.equal(model(tokens).logits, before)


def test_scores_of_another_model_are_refused(tiny) -> None:
    with pytest.raises(HfpruneError, match="belong to another model"):
        make_plan(tiny, [torch.rand(48)] * 2, 0.2)
