"""Exports are read by transformers 4 and 5, in processes of their own, by what stands in their cards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import reload
from families import TEXT, WIDTHS, build, cut
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

from hfprune.exports.checkpoint import export
from hfprune.exports.metadata import _repository
from hfprune.models.load import load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.planning import apply_plan


@pytest.mark.parametrize("version", [4, 5])
def test_both_versions_give_the_same_logits_and_tokens(
    exported, tmp_path: Path, request, version: int
) -> None:
    path = str(request.getfixturevalue("transformers_4")) if version == 4 else ""
    script = Path(__file__).with_name("elsewhere.py")
    run = subprocess.run(
        [sys.executable, "-P", script, TEXT, tmp_path / "found.json", *exported],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.startswith(f"{version}.")
    found = json.loads((tmp_path / "found.json").read_text())
    for folder, model in exported.items():
        tokens = found[str(folder)]["tokens"]
        assert tokens == AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
        logits = model(torch.tensor([tokens])).logits[0]
        assert logits.std() > 0.1, "distinct logits, or a wrong reader could be right"
        torch.testing.assert_close(torch.tensor(found[str(folder)]["logits"]), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("plain", "widths"), [(False, [64, 32, 32]), (True, [64, 64, 64])])
def test_widths_are_rounded_up_where_asked(dense, tmp_path: Path, plain: bool, widths: list[int]) -> None:
    model = cut(build("qwen2"), WIDTHS["unequal"])
    written = export(model, dense("qwen2"), tmp_path / "out", align=32, plain=plain)
    tokens = torch.arange(30).unsqueeze(0)
    again = load_model(tmp_path / "out", device=torch.device("cpu"))
    assert [mlp.count for mlp in gated_mlps(again)] == widths
    assert count_parameters(again) == written > count_parameters(model)
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits)


def test_tokenizer_files_are_the_sources_own(dense: Callable[[str], Path], tmp_path: Path) -> None:
    """Those of transformers 4 stay as they are, byte for byte; the licence comes along."""
    source = tmp_path / "source"
    source.mkdir()
    for path in dense("qwen2").glob("token*"):
        (source / path.name).write_bytes(path.read_bytes())
    old = '{"tokenizer_class": "PreTrainedTokenizerFast",   "additional_special_tokens": ["<s>"]}'
    (source / "tokenizer_config.json").write_text(old)
    (source / "LICENSE.txt").write_text("Do as you please.")
    export(cut(build("qwen2"), WIDTHS["equal"]), source, tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json", "LICENSE.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert reload(tmp_path / "out").config.intermediate_size == 24


def test_the_cards_metadata_name_model_data_licence_and_language(dense, tmp_path: Path) -> None:
    """What the records of fetched assets and the dense model's own card say, and no more."""
    source, corpus = tmp_path / "models/mine", tmp_path / "corpora/text"
    for folder, repo in ((source, "org/base"), (corpus, "org/text")):
        folder.mkdir(parents=True)
        asset = {"name": folder.name, "entry": {"source": {"provider": "hub", "repo": repo}}}
        (folder / "asset.json").write_text(json.dumps(asset))
    (source / "README.md").write_text(
        "---\nlicense: apache-2.0\nlanguage: [en, de]\ntags: [old]\n---\nA model.\n"
    )
    model = cut(build("qwen2"), WIDTHS["equal"])
    shutil.copytree(dense("qwen2"), source, dirs_exist_ok=True)
    made = {"settings": {"scoring": {"corpus": "text"}}}
    export(model, source, tmp_path / "out", made=made)
    given = ModelCard.load(tmp_path / "out/README.md").data.to_dict()
    expected = {"base_model": "org/base", "base_model_relation": "finetune", "datasets": ["org/text"]}
    assert given.items() >= (expected | {"license": "apache-2.0", "language": ["en", "de"]}).items()
    assert "model-index" not in given, "nothing was measured"
    export(model, dense("qwen2"), tmp_path / "local")
    given = ModelCard.load(tmp_path / "local/README.md").data.to_dict()
    assert given.keys() == {"license", "library_name", "pipeline_tag", "tags"}
    assert _repository(Path("/model"), "corpora", "text") is None, "nothing is beside a folder of the root's"


def test_files_can_be_read_by_whom_the_umask_lets(dense, tmp_path: Path) -> None:
    mask = 0o027
    before = os.umask(mask)
    try:
        export(cut(build("qwen2"), WIDTHS["equal"]), dense("qwen2"), tmp_path / "out")
    finally:
        os.umask(before)
    paths = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert sum(path.is_dir() for path in paths) == 2, "of the export, and of the recipe in it"
    for path in paths:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask


@pytest.mark.parametrize(("kept", "warned"), [([0, 1], False), ([1, 2], True)])
def test_layers_that_no_longer_alternate_are_a_warning(dense, tmp_path: Path, capsys, kept, warned) -> None:
    """mlx-lm and llama.cpp read Gemma 3's sliding windows from the layers' numbers."""
    model = build("gemma3")
    apply_plan(model, {"layers": torch.tensor(kept)})
    export(model, dense("gemma3"), tmp_path / "out")
    said = [capsys.readouterr().err, (tmp_path / "out/README.md").read_text()]
    assert ["`layer_types` no longer alternates" in text for text in said] == [warned, warned]
