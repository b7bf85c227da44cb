"""Key-value groups with their query heads, sliced and exported; and the mask of every kind of plan."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import HEADS, build_tiny, generates_the_same_without_cache, reload
from families import PLANS, random_plan
from smoke import build_tokenizer

from hfprune.errors import HfpruneError
from hfprune.evaluation.lm import PrefixTreeLM
from hfprune.exports.checkpoint import export
from hfprune.models.load import load_model
from hfprune.models.units import attentions, count_parameters
from hfprune.plans.mask import masked
from hfprune.plans.planning import apply_plan

LAYERS = 3


def plan_of(model, groups: tuple[int, ...] = (0, 2, 3)) -> dict[str, torch.Tensor]:
    """A plan that keeps 40 neurons, others in every layer, and other groups in the first layer."""
    kept = {f"mlp.{layer}": (torch.arange(48) % 6 != layer).nonzero().squeeze(1) for layer in range(LAYERS)}
    kept |= {f"attention.{layer}": torch.tensor(groups) for layer in range(LAYERS)}
    return kept | {"attention.0": torch.arange(len(groups))}


def test_generation_evaluation_and_eager_attention_see_the_same_model(model, tokens) -> None:
    ratio = model.config.num_attention_heads // 4
    apply_plan(model, plan_of(model))
    assert all(layer.self_attn.num_key_value_groups == ratio for layer in model.model.layers)
    assert (model.config.num_key_value_heads, model.config.num_attention_heads) == (3, 3 * ratio)
    expected = model(tokens).logits
    assert generates_the_same_without_cache(model, model, tokens), "the cache holds the kept groups"
    lm = PrefixTreeLM(model, tokenizer=build_tokenizer(), batch_tokens=64, add_bos_token=False)
    context, target = tokens[0, :9].tolist(), tokens[0, 9:12].tolist()
    ((found, _),) = lm._loglikelihood_tokens([(("", ""), context, target)], disable_tqdm=True)
    log_p = expected[0, 8:].log_softmax(-1)
    assert found == pytest.approx(sum(float(log_p[i, t]) for i, t in enumerate(target)), rel=1e-4)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-4, atol=1e-4)


def test_layers_with_other_numbers_of_groups(model, tokens, tmp_path: Path, tokenizer: Path) -> None:
    """In memory each layer has its own; on disk too, or those of the largest, by heads of zero weight."""
    model.double()
    other = {"attention.0": torch.arange(4), "attention.2": torch.tensor([1])}
    dense, plan = deepcopy(model), plan_of(model) | other
    apply_plan(model, plan)
    logits = model(tokens).logits
    with masked(dense, plan):
        torch.testing.assert_close(dense(tokens).logits, logits, rtol=1e-10, atol=1e-10)
    assert [units.count for units in attentions(model)] == [4, 3, 1]
    assert generates_the_same_without_cache(model, model, tokens)
    export(model, tokenizer, tmp_path / "compact")
    compact = load_model(tmp_path / "compact", device=torch.device("cpu"))
    torch.testing.assert_close(compact(tokens).logits, logits, rtol=1e-12, atol=1e-12)
    assert [units.count for units in attentions(compact)] == [4, 3, 1]
    assert generates_the_same_without_cache(compact, model, tokens)
    export(model, tokenizer, tmp_path / "out", plain=True)
    loaded = reload(tmp_path / "out")
    torch.testing.assert_close(loaded(tokens).logits, logits, rtol=1e-12, atol=1e-12)
    assert type(loaded) is type(model), "as many heads as the dense model"
    assert loaded.config.num_key_value_heads == 4
    for layer, kept in zip(loaded.model.layers, (4, 3, 1), strict=True):
        used = layer.self_attn.o_proj.weight.any(0).unflatten(0, (4, -1)).any(1)
        assert used.tolist() == [group < kept for group in range(4)]


def test_a_model_stays_of_its_kind_where_its_config_takes_the_heads(
    tokens, tmp_path: Path, tokenizer: Path
) -> None:
    """Six heads do not divide the hidden size of 32, which LLaMA's config refuses."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 128}  # fmt: skip
    fits, odd = (0, 3), (0, 1, 3)
    cases = (
        ("llama", fits, "llama"),
        ("llama", odd, "mistral"),
        ("qwen2", odd, "qwen2"),
        ("qwen3", odd, "qwen3"),
    )
    for architecture, groups, kind in cases:
        model = build_tiny(architecture, **HEADS["gqa"], rope_parameters=rope)
        apply_plan(model, plan_of(model, groups))
        export(model, tokenizer, tmp_path / kind)
        loaded = reload(tmp_path / kind)
        assert loaded.config.model_type == kind
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
        assert count_parameters(load_model(tmp_path / kind)) == count_parameters(model)
    model = build_tiny("llama-bias", **HEADS["gqa"])
    apply_plan(model, plan_of(model, odd))
    with pytest.raises(HfpruneError, match="transformers refuses a LLaMA of"):
        export(model, tokenizer, tmp_path / "out")


@pytest.mark.parametrize("architecture", ["llama-bias", "qwen3"])
@pytest.mark.parametrize("kind", PLANS)
def test_masked_equals_sliced_and_is_dense_when_off(architecture: str, kind: str, tokens) -> None:
    dense = build_tiny(architecture)
    plan = random_plan(dense, kind)
    apply_plan(sliced := deepcopy(dense), plan)
    before, expected = dense(tokens).logits, sliced(tokens).logits
    with masked(dense, plan) as mask:
        torch.testing.assert_close(dense(tokens).logits, expected, rtol=1e-4, atol=1e-5)
        with mask.off():
            assert torch.equal(dense(tokens).logits, before)
    assert torch.equal(dense(tokens).logits, before)
    assert not torch.allclose(before, expected, atol=1e-4)
    wrong = {f"mlp.{layer}": torch.tensor([10**6]) for layer in range(LAYERS)}
    with pytest.raises(HfpruneError, match="must hold sorted, distinct numbers"), masked(dense, wrong):
        pass
    assert not any(module._forward_pre_hooks for module in dense.modules()), "no hook is left"
