"""Weights of few bits beside a calculation by hand, their bytes, and what a study measures of them."""

from pathlib import Path

import pytest
import torch
from command_line import failure, run
from conftest import SHAPE, build_tiny
from safetensors.torch import save_file
from smoke import TEXT, save_model
from torch import nn

from hfprune.cells import read_result
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.evaluation.timing import prefill_flops
from hfprune.measures.latency import Latency
from hfprune.models.load import load_checkpoint, load_model
from hfprune.models.quantised import Quantised, bytes_of_weights, count_weights, quantise
from hfprune.models.units import count_parameters
from hfprune.plans.planning import apply_plan

WIDTHS = {f"mlp.{layer}": torch.arange(37 + layer) for layer in range(3)}


def to_16(number: float) -> float:
    return float(torch.tensor(number).bfloat16())


def by_hand(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Round each weight to the nearest of its levels, one after another."""
    found = []
    for row in weight.float().tolist():
        rounded = []
        size = len(row) if bits == 8 else 32
        for group in (row[start : start + size] for start in range(0, len(row), size)):
            if bits == 8:
                step, middle, lowest, highest = to_16(max(map(abs, group)) / 127), 0.0, -127, 127
            else:
                step = to_16((max(group) - min(group)) / 15)
                middle, lowest, highest = to_16(min(group) + 8 * step), -8, 7
            levels = [middle + step * level for level in range(lowest, highest + 1)]
            rounded += [min(levels, key=lambda level, x=x: abs(level - x)) for x in group]
        found.append(rounded)
    return torch.tensor(found, dtype=weight.dtype)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("architecture", ["llama-bias", "qwen2"])
def test_the_logits_are_those_of_weights_rounded_by_hand(architecture: str, bits: int, tokens) -> None:
    """Of a pruned model, whose widths fill no group."""
    model, expected = build_tiny(architecture), build_tiny(architecture)
    for each in (model, expected):
        apply_plan(each, WIDTHS)
    for layer in expected.model.layers:
        for linear in (part for part in layer.modules() if isinstance(part, nn.Linear)):
            linear.weight.data = by_hand(linear.weight, bits)
    dense = expected.model.embed_tokens.weight.clone()
    quantise(model, bits)
    with torch.inference_mode():
        assert torch.allclose(model(tokens).logits, expected(tokens).logits, atol=2e-4)
    assert torch.equal(model.model.embed_tokens.weight, dense), "embeddings stay as they are"


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 48, 37), (3, 37, 48), (40, 61, 97)])
def test_the_kernels_of_a_cpu_multiply_by_the_same_weights(
    bits: int, rows: int, inputs: int, outputs: int
) -> None:
    linear = nn.Linear(inputs, outputs).requires_grad_(False).bfloat16()
    states = torch.randn(2, rows, inputs).bfloat16()
    fast = Quantised(linear, bits)
    found = fast(states)
    expanded = Quantised(linear.float(), bits)
    expected = expanded(states.float())
    assert (
        fast.fast
        and not expanded.fast
        and found.shape == (2, rows, outputs)
        and found.dtype == torch.bfloat16
    )
    assert torch.allclose(found.float(), expected, atol=0.03), (found.float() - expected).abs().max()


def test_equal_weights_stay_equal() -> None:
    linear = nn.Linear(32, 16, bias=False).requires_grad_(False)
    for number in (0.0, 0.5):
        nn.init.constant_(linear.weight, number)
        for bits in (8, 4):
            assert torch.allclose(Quantised(linear, bits)(torch.eye(32)), linear(torch.eye(32)), rtol=5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_by_hand(dtype: torch.dtype) -> None:
    """q, o [32, 32], k, v [16, 32], gate, up [48, 32]; down [32, 48] is filled up to 64 inputs."""
    others = count_parameters(build_tiny("llama")) - 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32)
    codes = 2 * 32 * 32 + 2 * 16 * 32 + 2 * 48 * 32 + 32 * 64
    channels = 2 * 32 + 2 * 16 + 2 * 48 + 32
    groups = channels + 32  # two of each channel of down
    for bits, own in ((8, codes + 2 * channels), (4, codes // 2 + 4 * groups)):
        model = quantise(build_tiny("llama").to(dtype), bits)
        assert bytes_of_weights(model) == dtype.itemsize * others + 3 * own
        assert count_weights(model) == count_parameters(build_tiny("llama"))
    assert bytes_of_weights(build_tiny("llama").to(dtype)) == dtype.itemsize * count_parameters(
        build_tiny("llama")
    )


@pytest.mark.parametrize("bits", [8, 4])
def test_times_are_those_of_kernels_and_operations_those_of_the_model(bits: int) -> None:
    """All sizes but one are whole groups and multiples of channels, so that nothing is filled up."""
    settings = {"prompt_tokens": 12, "batch": 2, "new_tokens": 2, "repeats": 2}
    dense = build_tiny("llama", intermediate_size=64).bfloat16()
    model = quantise(build_tiny("llama", intermediate_size=64).bfloat16(), bits)
    values, _ = Latency(**settings).run(Subject(model, dense))
    found = {value.metric: value.value for value in values}
    assert found["prefill_speedup"] > 0 and found["decode_tokens_per_second"] > 0
    assert found["flops"] == prefill_flops(dense, torch.zeros(1, 12, dtype=torch.int64))
    assert found["parameters"] == count_parameters(dense)
    cache = 2 * 3 * 2 * 12 * SHAPE["hidden_size"] // 2
    assert found["memory_bytes"] == bytes_of_weights(model) + 2 * cache
    slow = quantise(build_tiny("llama"), bits)
    values, _ = Latency(**settings).run(Subject(slow, build_tiny("llama")))
    assert [value.metric for value in values] == ["flops", "parameters", "memory_bytes"]
    with pytest.raises(HfpruneError, match=r"latency\.align: quantised weights cannot be filled up"):
        Latency(**settings, align=8).run(Subject(slow))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A dense model, and a smaller one of its series."""
    save_model("llama", tmp_path / "dense")
    save_model("llama", tmp_path / "smaller", hidden_size=16, num_hidden_layers=2)
    (tmp_path / "text.txt").write_text("\n".join(TEXT))
    return tmp_path


def measured(folder: Path, measure: str, *flags: object) -> dict[str, float]:
    text = ("--corpus", folder / "text.txt", "--sequences", 4, "--length", 32)
    text = () if measure == "storage" else text
    run("measure", measure, "--resources", folder / "resources", "--out", folder / "out", *flags, *text)
    return {value.metric: value.value for value in read_result(folder / f"out/{measure}.json").values}


def test_weights_are_quantised_after_the_plan(models: Path) -> None:
    plan, dense = models / "plan.safetensors", models / "dense"
    save_file({name: kept.int() for name, kept in WIDTHS.items()}, plan)
    own = quantise(load_model(dense, "float32"), 4)
    assert measured(models, "storage", "--model", dense, "--quantised", 4) == {
        "disk_bytes": bytes_of_weights(own)
    }
    assert read_result(models / "out/storage.json").cell.method == "quantised"
    expected = load_model(dense, "float32")
    apply_plan(expected, WIDTHS)
    exported = models / "pruned"
    expected.config.intermediate_size = 39
    found = measured(models, "perplexity", "--model", dense, "--plan", plan, "--quantised", 4)
    run("export", "--model", dense, "--plan", plan, "--out", exported)
    again = measured(models, "perplexity", "--model", exported, "--quantised", 4)
    assert found == again != measured(models, "perplexity", "--model", exported)
    assert quantise(expected, 4).model.layers[0].mlp.down_proj.codes.shape[1] == 64 // 2, "of the cut width"


def test_another_model_is_measured_in_place_of_a_pruned_one(models: Path) -> None:
    dense, smaller = models / "dense", models / "smaller"
    found = measured(models, "perplexity", "--model", dense, "--instead", smaller)
    assert found == measured(models, "perplexity", "--model", smaller)
    distance = measured(models, "fidelity", "--model", dense, "--instead", smaller)["js_distance"]
    assert 0.01 < distance < 0.84
    said = failure(
        f"measure storage --model {dense} --instead {smaller} --plan {smaller} --out {models / 'x'}"
    )
    assert "--instead is a whole model: give no --plan" in said


def test_a_smaller_model_must_read_the_same_tokens(tmp_path: Path) -> None:
    for name in ("dense", "smaller", "other"):
        save_model("llama", tmp_path / name)
    tokenizer = tmp_path / "other/tokenizer.json"
    text = tokenizer.read_text()
    assert '"ĠThe"' in text or '"In"' in text
    tokenizer.write_text(
        text.replace('"</s>": 1', '"</t>": 1').replace('"content": "</s>"', '"content": "</t>"')
    )
    load_checkpoint(tmp_path / "smaller", tmp_path / "dense")
    with pytest.raises(HfpruneError, match=r"other: its tokenizer is not that of .*dense") as raised:
        load_checkpoint(tmp_path / "other", tmp_path / "dense")
    assert "\n" not in str(raised.value)
