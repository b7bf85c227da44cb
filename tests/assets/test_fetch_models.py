"""Models from local folders, damaged ones among them, and the real one of the catalogue."""

import shutil
from pathlib import Path

import pytest
import torch
from assets.local import fetch_local, shipped_catalogue
from conftest import build_tiny, reload
from gguf import GGUFReader, dequantize
from smoke import build_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfprune.assets.fetching import raw_files
from hfprune.errors import HfpruneError
from hfprune.files import read_json, sha256


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaMA in several weight files, with a tokenizer and things that must not be taken."""
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
    """Return the line of a failed fetch, which leaves nothing."""
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
