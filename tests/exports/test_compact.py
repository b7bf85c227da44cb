"""Compact exports: layers of unequal sizes as they are, and what loads them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import HEADS, generates_the_same_without_cache, reload
from families import EVERY, FAMILIES, WIDTHS, build, cut
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

import hfprune
from hfprune.exports.checkpoint import export
from hfprune.files import read_json, write_json
from hfprune.models import compact
from hfprune.models.load import load_skeleton
from hfprune.models.shape import Shape
from hfprune.models.sizes import layer_sizes
from hfprune.models.units import count_parameters

GROUPS = [4, 1, 3]
TOKENS = torch.arange(2, 32).unsqueeze(0)
# What transformers says where it reads one width for all layers, and where it reads one as allowed.
AMBIGUOUS = "'intermediate_size' is a per-layer attribute and may vary across layers"
MISMATCHED = "`ignore_mismatched_sizes`"


def log_p(model: PreTrainedModel) -> torch.Tensor:
    return model.to("cpu")(TOKENS).logits.log_softmax(-1)


def code_of(folder: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return code


@pytest.fixture
def unequal(dense, tmp_path: Path) -> Path:
    """The compact export of a Qwen2."""
    export(cut(build("qwen2"), WIDTHS["unequal"]), dense("qwen2"), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("groups", [(), GROUPS], ids=["widths", "groups"])
@pytest.mark.parametrize("family", ["llama3", "qwen2", "qwen3", "gemma3", "gemma2", "phi3"])
def test_compact_and_padded_are_the_same_function(family: str, groups, tokenizer: Path, tmp_path) -> None:
    """And the compact one is as small as its parameters, a tied head among them once."""
    model = cut(build(family, **HEADS["gqa"], tie_word_embeddings=True), WIDTHS["unequal"], groups)
    written = [export(model, tokenizer, tmp_path / f"plain-{plain}", plain=plain) for plain in (False, True)]
    assert written[0] == count_parameters(model) < written[1]
    small, padded = hfprune.load(tmp_path / "plain-False"), reload(tmp_path / "plain-True")
    torch.testing.assert_close(log_p(small), log_p(padded), rtol=0, atol=1e-5)
    assert layer_sizes(small) == layer_sizes(model)
    assert small.lm_head.weight is small.model.embed_tokens.weight
    file = tmp_path / "plain-False/model.safetensors"
    with safe_open(file, "pt") as tensors:
        names = [*tensors.keys()]
    assert "lm_head.weight" not in names
    assert 0 < file.stat().st_size - 4 * count_parameters(model) < 200 * len(names)


@pytest.mark.parametrize("family", EVERY)
def test_every_family_there_and_back(family: str, tokenizer: Path, tmp_path: Path) -> None:
    """With a cache; and its sizes are known without its weights."""
    model = cut(build(family, **HEADS["gqa"]), WIDTHS["unequal"], GROUPS)
    export(model, tokenizer, tmp_path / "out")
    loaded = hfprune.load(tmp_path / "out")
    # Gate and up are one matrix again where they were one: another kernel may round its product otherwise.
    torch.testing.assert_close(log_p(loaded), log_p(model), rtol=0, atol=1e-5)
    for cache in (None, "static"):
        assert generates_the_same_without_cache(loaded, model, TOKENS, cache_implementation=cache)
    assert hfprune.load_tokenizer(tmp_path / "out").vocab_size
    skeleton = load_skeleton(tmp_path / "out")
    assert layer_sizes(skeleton) == layer_sizes(model)
    assert count_parameters(skeleton) == count_parameters(model)
    vectors = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 1)
    shape = Shape.of_config(read_json(tmp_path / "out/config.json"))
    assert shape.parameters == pytest.approx(count_parameters(model) - vectors)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_again_by_transformers_in_shards(family: str, tokenizer: Path, tmp_path: Path) -> None:
    model = cut(build(family), WIDTHS["unequal"])
    export(model, tokenizer, tmp_path / "out")
    compact.load(tmp_path / "out").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len([*(tmp_path / "shards").glob("*.safetensors")]) > 3
    loaded = hfprune.load(tmp_path / "out")
    for device_map in (None, "auto"):
        again = hfprune.load(tmp_path / "shards", device_map=device_map)
        assert torch.equal(log_p(again), log_p(loaded))
    assert layer_sizes(load_skeleton(tmp_path / "shards")) == layer_sizes(model)


def test_equal_layers_are_exported_as_ever(dense, tmp_path: Path) -> None:
    model = cut(build("qwen2"), WIDTHS["equal"])
    for plain in (False, True):
        export(model, dense("qwen2"), tmp_path / f"{plain}", plain=plain)
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "True" / name).read_bytes() == (tmp_path / "False" / name).read_bytes()
    assert "per_layer_config" not in read_json(tmp_path / "True/config.json")
    assert "AutoModelForCausalLM.from_pretrained" in code_of(tmp_path / "False")


def test_the_card_alone_loads_it(unequal: Path, tmp_path: Path) -> None:
    """By 25 lines and transformers, in a folder that has nothing else."""
    code = code_of(unequal)
    (function,) = re.findall(r"^def .*?(?=^\S)", code, re.DOTALL | re.MULTILINE)
    assert len(function.strip().splitlines()) <= 25
    code += "\nimport sys, torch; assert 'hfprune' not in sys.modules\n"
    code += "model.set_attn_implementation('eager')\n"
    code += f"print(model(torch.tensor({TOKENS.tolist()})).logits.tolist())\n"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code.replace("THIS_FOLDER", "out")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    expected = cut(build("qwen2"), WIDTHS["unequal"])(TOKENS).logits
    torch.testing.assert_close(torch.tensor(json.loads(run.stdout)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "layer", "groups", "refusal"),
    [
        ("llama3", modeling_llama.LlamaDecoderLayer, (), AMBIGUOUS),
        ("llama3", modeling_llama.LlamaDecoderLayer, [4, 1, 2], MISMATCHED),
        ("qwen2", modeling_qwen2.Qwen2DecoderLayer, GROUPS, MISMATCHED),
    ],
)
def test_plainly_once_transformers_builds_each_layer_by_its_own_config(
    family: str, layer: type, groups, refusal: str, dense, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today it refuses, since it reads one width for all."""
    model = cut(build(family, **HEADS["gqa"]), WIDTHS["unequal"], groups)
    export(model, dense(family), tmp_path / "out")
    with pytest.raises(RuntimeError, match=refusal):
        AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    plain = layer.__init__
    monkeypatch.setattr(
        layer,
        "__init__",
        lambda self, config, number: plain(self, config.per_layer_config[number], number),
    )
    loaded, found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(found.values())
    assert torch.equal(loaded(TOKENS).logits, model(TOKENS).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_is_built_by_its_own_config_yet(family: str, dense, tmp_path: Path) -> None:
    """Fails on the day that transformers builds one: then its card can say `from_pretrained` (exports/card.py)."""
    export(cut(build(family), WIDTHS["unequal"]), dense(family), tmp_path / "out")
    with pytest.raises(RuntimeError, match=AMBIGUOUS):
        AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_what_does_not_fit_is_refused(unequal: Path) -> None:
    """By this package in one line, and by the card's function."""
    config, weights = unequal / "config.json", unequal / "model.safetensors"
    known, tensors = read_json(config), load_file(weights)
    name = "model.layers.1.mlp.up_proj.weight"
    lacking = {key: tensor for key, tensor in tensors.items() if key != name}
    other = known["per_layer_config"] | {"1": {"intermediate_size": 18}}
    for sizes, written in (
        (known["per_layer_config"], lacking),
        (known["per_layer_config"], tensors | {"more.weight": torch.ones(2)}),
        (other, tensors),
    ):
        write_json(config, known | {"per_layer_config": sizes})
        save_file(written, weights, {"format": "pt"})
        with pytest.raises((ValueError, RuntimeError)):
            compact.load(unequal)
        with pytest.raises(hfprune.HfpruneError, match="cannot load the model") as failure:
            hfprune.load(unequal)
        assert "\n" not in str(failure.value)


KILLED = Path(__file__).with_name("killed.py")


def bytes_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes().hex() for path in files}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["new", "in place of a padded one", "a card after it was compared"])
def test_killed_at_any_moment_it_is_whole_or_not_there(how: str, dense, tmp_path: Path) -> None:
    """A process for each step on the file system that an export takes, which dies before it."""
    model, source, out = cut(build("qwen2"), WIDTHS["unequal"]), dense("qwen2"), tmp_path / "out"
    compact_one, padded = tmp_path / "compact", tmp_path / "padded"
    export(model, source, compact_one)
    export(model, source, padded, plain=True)
    of_card = how.startswith("a card")
    before = compact_one if of_card else "" if how == "new" else padded
    run = subprocess.run(
        [sys.executable, "-P", KILLED, source, out, before, *["card"] * of_card],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    *found, last = json.loads(run.stdout)
    if of_card:
        others = {*last} - {"README.md", "provenance.json"}
        assert (
            "| repeated 4-grams of greedy text, % | 3.0 | 2.0 |" in bytes.fromhex(last["README.md"]).decode()
        )
        assert {name: last[name] for name in others} == {name: bytes_of(compact_one)[name] for name in others}
    else:
        assert last == bytes_of(compact_one)
    # In order: what was there before, for a moment nothing, and the new export.
    states = [{}, last] if how == "new" else [bytes_of(Path(before)), {}, last]
    order = [states.index(one) for one in found]
    assert len(order) > 20 and order == sorted(order) and {*order} == {*range(len(states))}
