"""GGUF files of tiny models, written with llama.cpp's own library."""

import json
from pathlib import Path

import gguf
import pytest
import torch
from conftest import SHAPE, build_tiny, reload
from smoke import build_tokenizer
from transformers import AutoTokenizer, PreTrainedModel

from hfprune.assets.resolving import resolve
from hfprune.models.units import count_parameters

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk",
}  # fmt: skip


def write_gguf(model: PreTrainedModel, path: Path, head: torch.Tensor | None) -> None:
    """Write a Qwen2 as llama.cpp's converter does, in float32, with a head of its own where one is given."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    source = build_tokenizer()
    vocabulary = sorted(source.get_vocab(), key=source.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary)
    special = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([special[token not in ("<s>", "</s>")] for token in vocabulary])
    merges = json.loads(source.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            for long, short in NAMES.items():
                name = name.replace(long, short)
            writer.add_tensor(name, tensor.numpy())
    if head is not None:
        writer.add_tensor("output.weight", head.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rounded(matrix: torch.Tensor) -> torch.Tensor:
    """Return a matrix as the coarsest type that llama.cpp gives embeddings of a small model would hold it."""
    kind = gguf.GGMLQuantizationType.Q4_0
    return torch.from_numpy(gguf.dequantize(gguf.quantize(matrix.numpy(), kind), kind))


@pytest.mark.parametrize("head", ["none", "finer", "own"])
def test_head_and_embeddings_are_one_matrix_exactly_where_they_were(tmp_path: Path, head: str) -> None:
    model = build_tiny("qwen2", vocab_size=400, tie_word_embeddings=head != "own")
    written = build_tiny("qwen2", vocab_size=400, tie_word_embeddings=head != "own")
    own = None if head == "none" else model.lm_head.weight.clone()
    if head == "finer":
        written.model.embed_tokens.weight.data = rounded(model.model.embed_tokens.weight)
        assert not torch.equal(written.model.embed_tokens.weight, own)
    write_gguf(written, tmp_path / "tiny.gguf", own)
    found = reload(resolve("models", tmp_path / "tiny.gguf", tmp_path))
    assert count_parameters(found) == count_parameters(model)
    assert found.config.tie_word_embeddings == (head != "own")
    tokens = torch.arange(24).unsqueeze(0)
    torch.testing.assert_close(found(tokens).logits, model(tokens).logits, rtol=1e-5, atol=1e-5)
    assert type(found.model.layers[0].mlp.up_proj) is torch.nn.Linear


def test_the_tokenizer_of_a_qwen_has_no_bos_and_normalises(tmp_path: Path) -> None:
    write_gguf(build_tiny("qwen2", vocab_size=400), tmp_path / "tiny.gguf", None)
    tokenizer = AutoTokenizer.from_pretrained(resolve("models", tmp_path / "tiny.gguf", tmp_path))
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (None, "</s>", "<s>")
    text = "A calf's cafe\u0301 of 2024\n"
    tokens = tokenizer(text).input_ids
    assert tokens[0] != 0
    assert tokenizer.decode(tokens) == text.replace("e\u0301", "\u00e9")
    assert tokenizer("a</s>").input_ids[-1] == 1
