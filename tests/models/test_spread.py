"""A model whose layers are in memory or on disk scores and reads as one that is in memory as a whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import build_tiny
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from hfprune.criteria import CRITERIA, make_criterion
from hfprune.errors import HfpruneError
from hfprune.models.head import Head, chunks, hidden_states
from hfprune.models.load import load_model
from hfprune.models.spread import is_offloaded
from hfprune.plans.mask import masked
from hfprune.plans.plan import apply_plan, make_plan
from hfprune.scoring.score import score
from hfprune.scoring.sweep import Sweep

ALL = ("neurons", "key_value_groups", "layers")
# Of a tiny model of 150 to 200 kB in float32: nothing in memory, or a part of its layers.
NOTHING, SOME = {"cpu": "0GB"}, {"cpu": "100KB"}


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    build_tiny(request.param).save_pretrained(tmp_path, max_shard_size="60KB")
    assert len([*tmp_path.glob("*.safetensors")]) > 1
    return tmp_path


def spread(folder: Path, max_memory: dict[int | str, int | str]) -> PreTrainedModel:
    return load_model(folder, "float32", device_map="auto", max_memory=max_memory)


def layers_on(model: PreTrainedModel, place: str) -> int:
    return [*model.hf_device_map.values()].count(place)


@pytest.mark.parametrize("folder", ["llama", "qwen2", "qwen3"], indirect=True)
def test_layers_lie_where_there_is_room_and_the_files_are_read_in_place(folder: Path) -> None:
    files = sorted(folder.iterdir())
    plain, nothing, some = load_model(folder), spread(folder, NOTHING), spread(folder, SOME)
    assert "cpu" not in nothing.hf_device_map.values() and layers_on(some, "cpu") and layers_on(some, "disk")
    for model in (nothing, some):
        assert is_offloaded(model) and all(
            layer.mlp.down_proj.weight.is_meta for layer in model.model.layers[1:]
        )
        ends = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        assert model.device.type == "cpu" and not any(weight.is_meta for weight in ends)
        assert (ends[0] is ends[1]) == plain.config.tie_word_embeddings, "tied weights are held once"
    whole = load_model(folder, device_map="auto", max_memory={"cpu": "1GB"})
    assert not is_offloaded(whole) and not is_offloaded(plain)
    assert sorted(folder.iterdir()) == files, "no copy of the weights"


@pytest.mark.parametrize("folder", ["llama", "qwen2", "qwen3"], indirect=True)
@pytest.mark.parametrize("max_memory", [NOTHING, SOME], ids=["disk", "memory and disk"])
def test_scores_are_those_of_the_whole_model(folder: Path, max_memory, tokens) -> None:
    """By every criterion: each reads other activations, gradients or weights, at other moments."""
    for units in (("neurons",), ALL):
        criteria = {
            name: criterion
            for name, criterion in ((name, CRITERIA.make(name, {}, "test")) for name in CRITERIA.sources())
            if {*units} <= {*criterion.scorable()}
        }
        if units == ("neurons",):
            criteria["joint"] = make_criterion("cross_entropy", {"aggregation": "joint"})
        assert {"entropy", "cross_entropy", "distillation"} <= criteria.keys()
        whole, parts = (
            score(criteria, model, tokens, units, batch_tokens=40)
            for model in (load_model(folder), spread(folder, max_memory))
        )
        for name, found in parts.items():
            for place, expected in whole[name].scores.items():
                atol = 1e-5 * float(expected.abs().mean())
                torch.testing.assert_close(
                    found.scores[place], expected, rtol=1e-5, atol=atol, msg=f"{name} {place}"
                )


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_a_killed_sweep_resumes(
    folder: Path, tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfprune.scoring.sweep.SAVE_SECONDS", -1)
    model, criteria = spread(folder, SOME), {"entropy": make_criterion("entropy", {})}
    expected = score(criteria, model, tokens, batch_tokens=40)["entropy"].scores
    read, batches = Sweep._one_batch, []

    def killed(sweep: Sweep, tape, batch: torch.Tensor) -> None:
        batches.append(batch)
        if len(batches) == 2:
            raise KeyboardInterrupt
        read(sweep, tape, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sweep, "_one_batch", killed)
        score(criteria, model, tokens, batch_tokens=40, state=tmp_path / "state")
    assert is_offloaded(model), "what the batch has read is dropped"
    found = score(criteria, model, tokens, batch_tokens=40, state=tmp_path / "state")["entropy"].scores
    assert all(torch.equal(found[place], expected[place]) for place in expected)


@pytest.mark.parametrize("folder", ["qwen3"], indirect=True)
@pytest.mark.parametrize("units", ALL)
def test_a_masked_model_reads_as_the_sliced_one(folder: Path, units: str, tokens) -> None:
    sliced, dense = load_model(folder), spread(folder, SOME)
    scores = score({"it": make_criterion("random", {})}, sliced, None, [units])["it"].scores
    plan = make_plan(sliced, scores, 0.2)
    apply_plan(sliced, plan)
    with torch.inference_mode():
        before, expected = hidden_states(dense, tokens), hidden_states(sliced, tokens)
        with masked(dense, plan):
            torch.testing.assert_close(hidden_states(dense, tokens), expected, rtol=1e-4, atol=1e-5)
        head = Head.of(dense)
        pairs = zip(chunks(head, before.flatten(0, 1)), chunks(dense, before.flatten(0, 1)), strict=True)
        assert all(torch.equal(own, its) for (_, own), (_, its) in pairs)
        assert not torch.allclose(before, expected, atol=1e-3)


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(HfpruneError, match="there is no GPU 99"):
        spread(folder, {99: "1GB"})


SCORE = """
import sys
from pathlib import Path
import torch
from hfprune.criteria import make_criterion
from hfprune.models.load import load_model
from hfprune.scoring.score import score
model = load_model(Path(sys.argv[1]), device_map="auto", max_memory={"cpu": "0GB"})
blocks = torch.arange(64).view(2, 32)
found = score({"entropy": make_criterion("entropy", {})}, model, blocks, batch_tokens=32)["entropy"].scores
assert len(found) == len(model.model.layers) and all(x.isfinite().all() and x.any() for x in found.values())
# Of this program alone: `ru_maxrss` begins with what the process that started it held.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]))
"""


def build_large(folder: Path) -> int:
    """Write a model of 2.3 GB, a layer at a time, and return its bytes."""
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=1024,
        intermediate_size=8192,
        num_hidden_layers=20,
        num_attention_heads=8,
        num_key_value_heads=4,
        dtype="float32",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    # All layers are the same, which takes less time to make.
    generator = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.ones(x.shape) if "norm" in name else torch.randn(x.shape, generator=generator).mul_(0.03)
        for name, x in model.named_parameters()
        if ".layers." not in name or ".layers.0." in name
    }
    files, total = {}, 0
    for part in ("ends", *range(config.num_hidden_layers)):
        names = {
            name: name.replace(".0.", f".{part}.")
            for name in drawn
            if (".layers." in name) != (part == "ends")
        }
        save_file(
            {names[name]: drawn[name] for name in names}, folder / f"{part}.safetensors", {"format": "pt"}
        )
        files |= dict.fromkeys(names.values(), f"{part}.safetensors")
        total += sum(drawn[name].nbytes for name in names)
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    return total


def test_a_model_is_scored_in_less_than_half_of_its_bytes(tmp_path: Path) -> None:
    size = build_large(tmp_path)
    assert size > 2e9
    run = subprocess.run([sys.executable, "-c", SCORE, tmp_path], capture_output=True, text=True, check=False)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < size / 2
