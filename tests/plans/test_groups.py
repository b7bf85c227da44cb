"""Key-value groups with their query heads: the budget beside neurons, plans, slicing and export."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import ARCHITECTURES, build_tiny, generates_the_same_without_cache, reload
from transformers import AutoModelForCausalLM, LlamaConfig

from hfprune.errors import HfpruneError
from hfprune.evaluation.lm import PrefixTreeLM
from hfprune.exports.checkpoint import export
from hfprune.models.load import load_model
from hfprune.models.units import attentions, count_parameters
from hfprune.plans.counts import kept_units
from hfprune.plans.mask import masked
from hfprune.plans.planning import apply_plan

BOTH = {"neurons": None, "key_value_groups": None}
HEADS = {
    "gqa": {"num_attention_heads": 8, "num_key_value_heads": 4},
    "mha": {"num_attention_heads": 4, "num_key_value_heads": 4},
}
LAYERS = 3


@pytest.fixture(params=[*((a, "gqa") for a in ARCHITECTURES), ("llama", "mha")], ids="-".join)
def model(request: pytest.FixtureRequest):
    architecture, heads = request.param
    return build_tiny(architecture, **HEADS[heads])


def plan_of(model, groups: tuple[int, ...] = (0, 2, 3)) -> dict[str, torch.Tensor]:
    """A plan that keeps 40 neurons, others in every layer, and other groups in the first layer."""
    kept = {f"mlp.{layer}": (torch.arange(48) % 6 != layer).nonzero().squeeze(1) for layer in range(LAYERS)}
    kept |= {f"attention.{layer}": torch.tensor(groups) for layer in range(LAYERS)}
    return kept | {"attention.0": torch.arange(len(groups))}


def test_slicing_equals_zeroing_what_is_pruned(model, tokens) -> None:
    zeroed, plan, dense = deepcopy(model), plan_of(model), model(tokens).logits
    for index, layer in enumerate(zeroed.model.layers):
        down, o = layer.mlp.down_proj.weight, layer.self_attn.o_proj.weight
        down[:, [i for i in range(48) if i not in plan[f"mlp.{index}"].tolist()]] = 0
        run = o.shape[1] // 4
        for group in set(range(4)) - set(plan[f"attention.{index}"].tolist()):
            o[:, group * run : (group + 1) * run] = 0
    apply_plan(model, plan)
    torch.testing.assert_close(model(tokens).logits, zeroed(tokens).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(tokens).logits, dense, atol=1e-2)
    ratio = zeroed.config.num_attention_heads // 4
    assert all(layer.self_attn.num_key_value_groups == ratio for layer in model.model.layers)
    assert (model.config.num_key_value_heads, model.config.num_attention_heads) == (3, 3 * ratio)


def test_generation_and_eager_attention_see_the_same_model(model, tokens) -> None:
    apply_plan(model, plan_of(model))
    expected = model(tokens).logits
    assert generates_the_same_without_cache(model, model, tokens), "the cache holds the kept groups"
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-4, atol=1e-4)


def test_shares_of_the_budget_by_hand() -> None:
    """LLaMA-2-7B at 20 %: of 64.2 % MLP and 31.9 % attention, the fraction 0.2 / 0.961 of both goes."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig())  # its defaults are that model
    kept = kept_units(model, 0.2, BOTH)
    assert kept["key_value_groups"] == 25  # 32 × (1 - 0.208) = 25.3
    head = 4 * 128 * 4096
    expected = 11008 - (0.2 * 6_738_415_616 - 32 * 7 * head) / (32 * 3 * 4096)
    assert abs(kept["neurons"] - expected) <= 0.5
    with pytest.raises(HfpruneError, match=r"choose one above 0 and at most 0\.9\d\d$"):
        kept_units(model, 0.97, BOTH)


def test_few_groups_are_rounded_to_what_the_mlp_can_meet() -> None:
    """Two groups: half the attention is more than the budget, so both stay; later the nearest number counts."""
    model = build_tiny("qwen3", intermediate_size=8)
    assert kept_units(model, 0.05, BOTH)["key_value_groups"] == 2
    kept = kept_units(model, 0.4, BOTH)
    assert kept["key_value_groups"] == 1
    assert 1 <= kept["neurons"] <= 8


def test_export_loads_plainly_with_the_same_logits(model, tokens, tmp_path: Path, tokenizer: Path) -> None:
    """Six or three heads do not divide the hidden size of 32, which LLaMA's config refuses."""
    apply_plan(model, plan_of(model))
    if model.config.model_type == "llama" and model.config.mlp_bias:
        with pytest.raises(HfpruneError, match="transformers refuses a LLaMA of"):
            export(model, tokenizer, tmp_path / "out")
        return
    export(model, tokenizer, tmp_path / "out")
    loaded = reload(tmp_path / "out")
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    for key in ("num_key_value_heads", "num_attention_heads", "head_dim", "intermediate_size"):
        assert getattr(loaded.config, key) == getattr(model.config, key)
    assert count_parameters(load_model(tmp_path / "out")) == count_parameters(model)


def test_layers_with_other_numbers_of_groups(model, tokens, tmp_path: Path, tokenizer: Path) -> None:
    """In memory each layer has its own; on disk all have those of the largest, by heads of zero weight."""
    model.double()
    other = {"attention.0": torch.arange(4), "attention.2": torch.tensor([1])}
    dense, plan = deepcopy(model), plan_of(model) | other
    apply_plan(model, plan)
    logits = model(tokens).logits
    with masked(dense, plan):
        torch.testing.assert_close(dense(tokens).logits, logits, rtol=1e-10, atol=1e-10)
    assert [units.count for units in attentions(model)] == [4, 3, 1]
    assert generates_the_same_without_cache(model, model, tokens)
    export(model, tokenizer, tmp_path / "out")
    loaded = reload(tmp_path / "out")
    torch.testing.assert_close(loaded(tokens).logits, logits, rtol=1e-12, atol=1e-12)
    assert type(loaded) is type(model), "as many heads as the dense model"
    assert loaded.config.num_key_value_heads == 4
    for layer, kept in zip(loaded.model.layers, (4, 3, 1), strict=True):
        used = layer.self_attn.o_proj.weight.any(0).unflatten(0, (4, -1)).any(1)
        assert used.tolist() == [group < kept for group in range(4)]


def test_llama_of_fitting_heads_stays_a_llama(tokens, tmp_path: Path, tokenizer: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 128}  # fmt: skip
    for groups, kind in (((0, 3), "llama"), ((0, 1, 3), "mistral")):
        model = build_tiny("llama", **HEADS["gqa"], rope_parameters=rope)
        apply_plan(model, plan_of(model, groups))
        export(model, tokenizer, tmp_path / kind)
        loaded = reload(tmp_path / kind)
        assert loaded.config.model_type == kind
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)


def test_evaluation_reads_the_pruned_model(tokens) -> None:
    """Stock lm-eval's answers are those of the pruned model's plain logits."""
    from smoke import build_tokenizer

    model = build_tiny("qwen3", **HEADS["gqa"])
    apply_plan(model, plan_of(model))
    lm = PrefixTreeLM(model, tokenizer=build_tokenizer(), batch_tokens=64, add_bos_token=False)
    context, target = tokens[0, :9].tolist(), tokens[0, 9:12].tolist()
    ((found, _),) = lm._loglikelihood_tokens([(("", ""), context, target)], disable_tqdm=True)
    log_p = model(tokens[:1, :11]).logits[0, 8:].log_softmax(-1)
    assert found == pytest.approx(sum(float(log_p[i, t]) for i, t in enumerate(target)), rel=1e-4)
