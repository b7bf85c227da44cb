"""GGUF files of layers of unequal widths, read and quantised by a released llama.cpp."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HEADS
from engines import reading
from engines.matrix import read_by
from families import TEXT, WIDTHS, build, cut
from gguf import GGUFReader
from smoke import ROOT
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer

import hfprune
from hfprune.exports.checkpoint import export

GROUPS = [4, 1, 3]
REFUSED = r"^--gguf: llama.cpp has for a {}"


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with llama.cpp beside what this one has."""
    target = tmp_path_factory.mktemp("llama_cpp")
    flags = ("--quiet", "--no-deps", "--no-compile", "--target", target)
    asked = ("--requirement", ROOT / "tests/engines/llama.txt")
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, *asked], check=True)
    python = target / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={target} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


@pytest.mark.parametrize(
    ("family", "changes", "groups"),
    [
        ("llama3", {"mlp_bias": True, "attention_bias": True}, ()),
        ("llama3", HEADS["gqa"], GROUPS),
        ("mistral", HEADS["gqa"], ()),
        ("qwen2", HEADS["mha"], ()),
        ("qwen3", HEADS["gqa"], GROUPS),
    ],
    ids=["LLaMA 3 with biases", "LLaMA 3 of unequal heads", "Mistral", "Qwen2", "Qwen3 of unequal heads"],
)
def test_llama_cpp_reads_a_width_for_each_layer(
    family: str, changes: dict, groups, llama_cpp: str, dense, tmp_path: Path
) -> None:
    """As transformers does, but for rounding; and in 8 bits about so."""
    model = cut(build(family, **changes), WIDTHS["unequal"], groups)
    export(model, dense(family), tmp_path / "out", gguf=True)
    (tmp_path / "out/model.gguf").rename(tmp_path / "model-F32.gguf")
    files = [str(tmp_path / f"model-{kind}.gguf") for kind in ("F32", "Q8_0")]
    found = read_by(llama_cpp, "llama_cpp", files, [TEXT])
    ((ids, log_p, new),) = reading.by_torch(model, AutoTokenizer.from_pretrained(tmp_path / "out"), [TEXT])
    for file, tolerance in zip(files, (1e-4, 0.5), strict=True):
        assert not isinstance(found[file], str), found[file]
        ((their_ids, theirs, greedy),) = found[file]
        assert their_ids == ids
        np.testing.assert_allclose(theirs, log_p, atol=tolerance)
        assert greedy == new or tolerance > 1e-4
    assert Path(files[1]).stat().st_size < 0.5 * Path(files[0]).stat().st_size


def test_a_file_in_16_bits_has_vectors_in_32(dense, tmp_path: Path) -> None:
    model = cut(build("llama3"), WIDTHS["unequal"]).bfloat16()
    export(model, dense("llama3"), tmp_path / "out", gguf=True)
    for tensor in GGUFReader(tmp_path / "out/model.gguf").tensors:
        assert tensor.tensor_type.name == ("BF16" if len(tensor.shape) > 1 else "F32")
    (up,) = (
        one for one in GGUFReader(tmp_path / "out/model.gguf").tensors if one.name == "blk.1.ffn_up.weight"
    )
    bits = torch.from_numpy(up.data.view(np.uint16).astype(np.int32))
    assert torch.equal((bits << 16).view(torch.float32), model.model.layers[1].mlp.up_proj.weight.float())


def written_too_early(*_args: object) -> None:
    """Stands for `save_pretrained` where a refusal must come first."""
    raise AssertionError("weights are written before the refusal")


@pytest.mark.parametrize(
    ("family", "changes", "groups", "refusal"),
    [
        ("gemma3", {}, (), "gemma3_text no architecture with a width for each layer"),
        ("qwen3", {"tie_word_embeddings": False}, (), "qwen3 a width for each layer only where embeddings"),
        ("mistral", {"sliding_window": 8}, (), "mistral no sliding windows with"),
        ("qwen2", {}, [2, 1, 2], "qwen2 biases of heads only where these fill the hidden size"),
        (
            "llama3",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}},
            (),
            "llama no dynamic rotary positions with a width for each layer",
        ),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused_in_a_line(
    family: str, changes: dict, groups, refusal: str, dense, tmp_path: Path, monkeypatch
) -> None:
    source, model = dense(family), cut(build(family, **changes), WIDTHS["unequal"], groups)
    monkeypatch.setattr(type(model), "save_pretrained", written_too_early)
    with pytest.raises(hfprune.HfpruneError, match=REFUSED.format(refusal)) as failure:
        export(model, source, tmp_path / "out", gguf=True)
    assert "--plain" in str(failure.value) and "\n" not in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_refused_before_weights_are_written(dense, tmp_path: Path, monkeypatch) -> None:
    source = Path(shutil.copytree(dense("llama3"), tmp_path / "dense"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save_pretrained(source)
    model = cut(build("llama3"), WIDTHS["unequal"])
    monkeypatch.setattr(type(model), "save_pretrained", written_too_early)
    with pytest.raises(hfprune.HfpruneError, match=r"^--gguf: supports the tokenizers of LLaMA 3, "):
        export(model, source, tmp_path / "out", gguf=True)
