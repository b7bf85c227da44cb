"""Loading, units and the head, on tiny models of every family that is supported."""

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import SHAPE, build_tiny, peaked, reload
from families import EVERY, build
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from hfprune.errors import HfpruneError
from hfprune.exports.checkpoint import export
from hfprune.models import head
from hfprune.models.aligned import aligned
from hfprune.models.checks import check_model
from hfprune.models.fused import joined, linear_of, separate
from hfprune.models.head import back_to_hidden, before_transform, chunks, hidden_states, logits
from hfprune.models.load import load_model, load_skeleton
from hfprune.models.units import attentions, count_parameters, gated_mlps, units_of
from hfprune.plans.planning import apply_plan, make_plan
from hfprune.settings.units import kind_of

HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4}
PHI = Phi3Config(**SHAPE | HEADS, pad_token_id=0)


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    cap = {"final_logit_softcapping": 2.5} if request.param == "gemma3" else {}
    return build(request.param, **HEADS, **cap)


def saved(kind: type[PreTrainedModel], config: PretrainedConfig, folder: Path) -> Path:
    kind(config).save_pretrained(folder)
    return folder


def damaged(folder: Path) -> Path:
    weights = saved(Phi3ForCausalLM, PHI, folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return folder


def with_other_logits() -> PreTrainedModel:
    model = build("llama3")
    model.register_forward_hook(lambda _module, _inputs, output: setattr(output, "logits", output.logits + 1))
    return model


def with_a_factor() -> PreTrainedModel:
    """Smaller than what bfloat16 rounds."""
    model = build("llama3").bfloat16()
    mlp = model.model.layers[1].mlp
    own = mlp.forward
    mlp.forward = lambda x: 1.001 * own(x)
    return model


MIXTRAL = MixtralConfig(**SHAPE, num_local_experts=2)
GPT2 = GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=4)
# What is refused, by what it says.
REFUSED = {
    "MixtralForCausalLM.*mixture of experts; supported are the types cohere":
        lambda folder: load_model(saved(MixtralForCausalLM, MIXTRAL, folder)),
    "GPT2LMHeadModel.*not a decoder.*; supported are the types cohere":
        lambda folder: load_model(saved(GPT2LMHeadModel, GPT2, folder)),
    r"fuses gate and up projection; load it with `hfprune\.load`":
        lambda _: gated_mlps(Phi3ForCausalLM(PHI)),
    "not a model folder": load_model,
    "cannot load the model": lambda folder: load_model(damaged(folder)),
    "LlamaForCausalLM transforms its logits .*; supported are":
        lambda _: check_model(with_other_logits()),
    r"LlamaForCausalLM: layer 1 has an MLP other than down_proj\(act_fn\(gate_proj\(x\)\) \* up_proj\(x\)\); supp":
        lambda _: check_model(with_a_factor()),
    "unknown kind of unit 'neuron'; did you mean 'neurons'": lambda _: units_of(build("llama3"), ["neuron"]),
    # Cohere's norms are [heads, head_dim], here square.
    r"CohereForCausalLM: layer 0 has q_norm\.weight over all heads":
        lambda _: attentions(build("cohere", **HEADS, use_qk_norm=True, hidden_size=64)),
    **{f"'{name}' names no units": partial(lambda name, _: kind_of(name), name)
       for name in ("attn.0", "layers.0", "mlp", "mlp.x")},
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_one_line(tmp_path: Path, message: str) -> None:
    with pytest.raises(HfpruneError, match=message) as failure:
        REFUSED[message](tmp_path)
    assert "\n" not in str(failure.value)


def test_a_fused_model_is_loaded_frozen_in_the_dtype_asked_for_and_computes_the_same(
    tmp_path: Path, tokens
) -> None:
    """What transformers loads has one matrix for gate and up."""
    plain = peaked(PHI)
    plain.save_pretrained(tmp_path)
    assert torch.equal(load_model(tmp_path)(tokens).logits, plain(tokens).logits)
    model = load_model(tmp_path, "bfloat16")
    assert model.dtype == torch.bfloat16 and not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_parts_of_a_fused_layer_keep_its_bias_and_are_joined_with_it(tokens) -> None:
    plain = peaked(PHI)
    for layer in plain.model.layers:
        for module, name in ((layer.mlp, "gate_up_proj"), (layer.self_attn, "qkv_proj")):
            weight = getattr(module, name).weight
            setattr(module, name, linear_of(weight, torch.randn(len(weight))))
    expected, before = plain(tokens).logits, dict(plain.state_dict())
    separate(plain)
    check_model(plain)
    assert torch.equal(plain(tokens).logits, expected)
    assert plain.model.layers[0].self_attn.k_proj.bias is not None
    after = dict(joined(plain.state_dict(), before))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_device_map_without_room_for_all_layers_is_refused(tmp_path: Path, tokens, monkeypatch) -> None:
    """On a machine without GPUs, `auto` is the processor; nothing may stay on disk."""
    build_tiny("llama").save_pretrained(tmp_path, max_shard_size="60KB")
    whole, plain = load_model(tmp_path, device_map="auto"), load_model(tmp_path)
    assert torch.equal(whole(tokens).logits, plain(tokens).logits)
    monkeypatch.setattr("transformers.integrations.accelerate.get_max_memory", lambda _: {"cpu": 100_000})
    with pytest.raises(HfpruneError, match="larger than the memory of all visible devices"):
        load_model(tmp_path, device_map="auto")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_hidden_states_are_the_models_own(model, tokens, dtype, monkeypatch) -> None:
    model.to(dtype)
    check_model(model)
    expected = model(tokens).logits
    hidden = hidden_states(model, tokens)
    assert torch.equal(logits(model, hidden), expected)
    if model.config.model_type in ("gemma2", "gemma3_text", "granite", "cohere"):
        plain = model.lm_head(hidden)
        assert (plain - expected).abs().max() > 0.1 * expected.abs().max(), "the head does more than multiply"
    flat, wanted = hidden.flatten(0, 1), expected.flatten(0, 1)
    monkeypatch.setattr(head, "head_chunk", lambda model: 40)
    parts = [*chunks(model, flat)]
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 40), (40, 80), (80, 102)]
    for part, found in parts:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted[part].float(), rtol=1e-2, atol=1e-3)


def test_gradient_to_hidden_states_is_that_of_autograd(model, tokens) -> None:
    hidden = hidden_states(model, tokens).flatten(0, 1).requires_grad_()
    entropy = torch.distributions.Categorical(logits=(found := logits(model, hidden))).entropy().sum()
    above, expected = torch.autograd.grad(entropy, (found, hidden))
    mine = back_to_hidden(model, before_transform(model, found.detach(), above.clone()))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_units_of_every_family_by_name(model) -> None:
    found = units_of(model, ["neurons", "key_value_groups", "layers"])
    names = [f"{part}.{layer}" for part in ("mlp", "attention") for layer in range(3)] + ["layers"]
    assert [*found] == names
    assert [found[name].count for name in names] == [48] * 3 + [4] * 3 + [3]
    assert all(kind_of(name) == units.kind for name, units in found.items())
    for name in ("mlp.1", "attention.1", "layers"):
        total, unit = count_parameters(model), found[name]
        weight = unit.parameters
        unit.keep(torch.arange(1, unit.count))
        assert total - count_parameters(model) == weight, name


def test_every_family_is_cut_exported_and_reloaded(model, tokens, tmp_path: Path, tokenizer: Path) -> None:
    """Depth, attention and width at once; layers of unequal width in the config's list stay themselves."""
    stay = [0, 2]
    plan = {"layers": torch.tensor(stay)}
    plan |= {f"mlp.{layer}": torch.arange(layer, 40 + layer) for layer in stay}
    plan |= {f"attention.{layer}": torch.tensor([0, 3]) for layer in stay}
    apply_plan(model, plan)
    export(model, tokenizer, tmp_path / "out")
    loaded = reload(tmp_path / "out")
    # Gate and up are one matrix again where they were one: another kernel may round its product otherwise.
    tolerance = 1e-5 if model.config.model_type in ("phi3", "glm4") else 0.0
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits, rtol=tolerance, atol=tolerance)
    assert count_parameters(load_skeleton(tmp_path / "out")) == count_parameters(model)
    load_model(tmp_path / "out")


@pytest.mark.parametrize("kind", ["llama", "llama-bias"])
def test_filled_up_widths_change_no_output_and_are_gone_afterwards(kind: str) -> None:
    model = build_tiny(kind)
    apply_plan(model, make_plan(model, {f"mlp.{layer}": torch.rand(48) for layer in range(3)}, 0.2))
    tokens = torch.arange(12)[None]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    cut = model(tokens).logits
    widths = {layer.mlp.down_proj.weight.shape[1] for layer in model.model.layers}
    assert any(width % 8 for width in widths)
    with pytest.raises(KeyboardInterrupt), aligned(model, 8):
        filled = {layer.mlp.down_proj.weight.shape[1] for layer in model.model.layers}
        assert filled == {-(-width // 8) * 8 for width in widths}
        assert torch.allclose(model(tokens).logits, cut, atol=1e-6)
        raise KeyboardInterrupt
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
