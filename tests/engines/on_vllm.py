"""Compact exports in vLLM by the package's plug-in, by `make test-engines`; not a part of `make test`."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import peaked
from engines import matrix
from engines.reading import Read, by_torch
from families import BY_LAYER, SCALED, cut
from smoke import TEXT, build_tokenizer
from transformers import AutoConfig

from hfprune import load_tokenizer
from hfprune.exports.checkpoint import export

VLLM = "build/engines/vllm/bin/python"
ENGINE = matrix.Engine("vLLM", VLLM, "vllm", 0.001)
# Longer than the blocks of the cache, which beginnings share.
TEXTS = [TEXT[0] + TEXT[1], TEXT[0] + TEXT[2], "The mill"]
SHAPE = matrix.SHAPE | {"vocab_size": 448, "num_attention_heads": 4, "num_key_value_heads": 2}
KINDS = ["sliding_attention", "full_attention"] * 3
FAMILIES: dict[str, dict] = {
    "llama": {"rope_parameters": SCALED},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma3_text": matrix.GEMMA | {"layer_types": KINDS, "rope_parameters": BY_LAYER},
}
WIDTHS, GROUPS = [1021, 640, 333, 1024, 17, 800], [2, 1, 2, 2, 1, 1]


def unequal(family: str, folder: Path, align: int = 1, groups: Sequence[int] = ()) -> list[Read]:
    """Write a compact export to `folder/model`, and return what transformers reads of the model in memory."""
    model = peaked(AutoConfig.for_model(**SHAPE | {"model_type": family} | FAMILIES[family]))
    build_tokenizer().save_pretrained(folder / "source")
    cut(model, WIDTHS, groups)
    export(model, folder / "source", folder / "model", align=align)
    return [*by_torch(model, load_tokenizer(folder / "model"), TEXTS)]


def read(reader: str, *folders: Path) -> list[list[Read] | str]:
    paths = [str(folder / "model") for folder in folders]
    found = matrix.read_by(VLLM, reader, paths, TEXTS)
    return [found[path] for path in paths]


def test_every_family_in_one_batch(tmp_path: Path) -> None:
    """And layers with unequal heads."""
    mine = {family: unequal(family, tmp_path / family) for family in FAMILIES}
    mine["groups"] = unequal("llama", tmp_path / "groups", groups=GROUPS)
    theirs = dict(zip(mine, read("vllm", *(tmp_path / name for name in mine)), strict=True))
    assert not {name: reason for name, reason in theirs.items() if isinstance(reason, str)}
    cells = {name: matrix.compared(ENGINE, mine[name], theirs[name]) for name in mine}
    assert all(right for _, right in cells.values()), cells


@pytest.mark.parametrize(("reader", "align"), [("vllm_served", 1), ("vllm_in_two", 2)])
def test_served_over_http_in_one_process_or_two(reader: str, align: int, tmp_path: Path) -> None:
    mine = unequal("qwen2", tmp_path, align)
    (theirs,) = read(reader, tmp_path)
    assert not isinstance(theirs, str), theirs
    cell, right = matrix.compared(ENGINE, mine, theirs)
    assert right, cell


def test_widths_that_two_processes_cannot_share_are_refused(tmp_path: Path) -> None:
    unequal("llama", tmp_path)
    (refusal,) = read("vllm_in_two", tmp_path)
    assert "layer 0 has 1021 neurons" in refusal and "`hfprune export --align 2`" in refusal


def test_a_qwen2_whose_heads_do_not_fill_the_hidden_size_is_refused(tmp_path: Path) -> None:
    """vLLM alone would divide the hidden size by their number, and be silently wrong."""
    unequal("qwen2", tmp_path, groups=[1] * 6)
    (refusal,) = read("vllm", tmp_path)
    assert "heads of size 128 for the model's 64" in refusal
