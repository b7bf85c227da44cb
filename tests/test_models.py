from pathlib import Path

import pytest
import torch
from conftest import SHAPE, build_tiny
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from hfprune.errors import HfpruneError
from hfprune.models import gated_mlps, load_model

REFUSED = {
    "Phi3ForCausalLM.*fuses gate and up": lambda: Phi3ForCausalLM(Phi3Config(**SHAPE, pad_token_id=0)),
    "MixtralForCausalLM.*mixture of experts": lambda: MixtralForCausalLM(
        MixtralConfig(**SHAPE, num_local_experts=2)
    ),
    "GPT2LMHeadModel.*not a decoder": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=4)
    ),
    "Gemma2ForCausalLM transforms its logits": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8)),
}


def test_view_names_the_parts(tiny) -> None:
    mlps = gated_mlps(tiny)
    assert [mlp.width for mlp in mlps] == [48] * 3
    x = torch.randn(5, 32)
    mlp = mlps[1]
    by_hand = mlp.down(torch.nn.functional.silu(mlp.gate(x)) * mlp.up(x))
    torch.testing.assert_close(tiny.model.layers[1].mlp(x), by_hand)


@pytest.mark.parametrize("message", REFUSED)
def test_other_architectures_are_refused_by_name(tmp_path: Path, message: str) -> None:
    REFUSED[message]().save_pretrained(tmp_path)
    with pytest.raises(HfpruneError, match=f"{message}.*supported: LLaMA, Qwen2"):
        load_model(tmp_path)


def test_loads_frozen_in_the_dtype_asked_for(tmp_path: Path) -> None:
    build_tiny("qwen3").save_pretrained(tmp_path)
    model = load_model(tmp_path, "bfloat16")
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_damaged_or_missing_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match="not a model folder"):
        load_model(tmp_path)
    build_tiny("llama").save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(HfpruneError, match="cannot load the model") as failure:
        load_model(tmp_path)
    assert "\n" not in str(failure.value)
