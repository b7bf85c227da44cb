"""Models from folders and GGUF files, damaged ones among them, and the real one of the catalogue."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from assets.local import fetch_local, shipped_catalogue
from conftest import SHAPE, build_tiny, reload
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType, dequantize, quantize
from smoke import build_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from hfprune.assets.fetching import raw_files
from hfprune.assets.resolving import resolve
from hfprune.errors import HfpruneError
from hfprune.files import read_json, sha256
from hfprune.models.units import count_parameters


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    build_tiny("llama", vocab_size=400).save_pretrained(folder, max_shard_size="60KB")
    build_tokenizer().save_pretrained(folder)
    for name in ("pytorch_model.bin", "modeling_tiny.py", "training_args.json", "consolidated.safetensors"):
        (folder / name).write_text("not this one")
    return folder


def fetch(path: Path, out: Path, format: str = "transformers") -> None:
    fetch_local("models", "tiny", path, out, format=format)


def test_copies_what_from_pretrained_needs_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetch(saved, out)
    shards = {path.name for path in saved.glob("model-*.safetensors")}
    assert len(shards) > 1
    config = {"config.json", "generation_config.json", "model.safetensors.index.json"}
    taken = {path.name for path in out.iterdir()}
    assert taken == shards | config | {"asset.json", "tokenizer.json", "tokenizer_config.json"}
    described = read_json(out / "asset.json")
    assert described["kind"] == "model"
    assert {name: file["sha256"] for name, file in described["files"].items()} == {
        name: sha256(saved / name) for name in taken - {"asset.json"}
    }
    tokens = torch.tensor([[0, 1, 2, 3]])
    assert torch.equal(reload(saved)(tokens).logits, reload(out)(tokens).logits)


def refused(path: Path, tmp_path: Path, format: str = "transformers") -> str:
    with pytest.raises(HfpruneError) as error:
        fetch(path, tmp_path / "out", format)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("pattern", "lacks"),
    [
        ("config.json", "lacks config.json;"),
        ("tokenizer.json", "lacks tokenizer (tokenizer.json or"),
        ("model-00001*", "lacks model-00001-of-"),
        ("model*", "pickled weights are not loaded"),
    ],
)
def test_a_missing_file_is_named(saved: Path, tmp_path: Path, pattern: str, lacks: str) -> None:
    broken = shutil.copytree(saved, tmp_path / "broken")
    for path in broken.glob(pattern):
        path.unlink()
    assert lacks in refused(broken, tmp_path)


def test_a_damaged_file_is_named(saved: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(saved, tmp_path / "broken")
    shard = sorted(broken.glob("model-*.safetensors"))[0]
    whole = shard.read_bytes()
    for left in (0, 5, 1000, -1):
        shard.write_bytes(whole[:left])
        line = refused(broken, tmp_path)
        assert f"{shard} is truncated or damaged" in line and line.endswith("fetch or copy it again")
    file = tmp_path / "tiny.gguf"
    for content in (b"", b"no GGUF", b"GGUF\x03\0\0\0"):
        file.write_bytes(content)
        line = refused(file, tmp_path, "gguf")
        assert f"cannot read {file}: " in line and "fetch or copy it again" in line
    assert "exactly one .gguf file, its source holds 0" in refused(saved, tmp_path, "gguf")


def test_the_real_gguf_becomes_a_plain_float32_model(smollm2: Path, downloads: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    config = model.config
    assert config.architectures == ["LlamaForCausalLM"]
    # SmolLM2-135M's model card.
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (30, 576, 1536)
    assert model.num_parameters() == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert type(model.model.layers[0].mlp.up_proj) is torch.nn.Linear

    asset = shipped_catalogue().models["smollm2-135m-instruct-q4"]
    with raw_files(asset, downloads) as (file,):
        tensor = next(t for t in GGUFReader(file).tensors if t.name == "blk.3.ffn_up.weight")
        expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
    assert torch.equal(model.model.layers[3].mlp.up_proj.weight, expected)

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    with torch.no_grad():
        logits = model(**tokenizer("The capital of France is", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    # Readable to others, as every other result.
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in smollm2.iterdir())


NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk",
}  # fmt: skip


def write_gguf(model: PreTrainedModel, path: Path, head: torch.Tensor | None) -> None:
    """Write a Qwen2 as llama.cpp's converter does, in float32, with a head of its own where one is given."""
    writer = GGUFWriter(path, "qwen2")
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
    special = TokenType.CONTROL, TokenType.NORMAL
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
    kind = GGMLQuantizationType.Q4_0
    return torch.from_numpy(dequantize(quantize(matrix.numpy(), kind), kind))


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
