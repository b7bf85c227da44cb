import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SHAPE, build_tiny

from hfprune.evaluation import timing
from hfprune.evaluation.measured_model import Subject
from hfprune.evaluation.timing import decode, prefill, prefill_flops
from hfprune.measures.latency import Latency
from hfprune.models.units import count_parameters
from hfprune.plans.planning import apply_plan, make_plan

WORKLOAD = {"prompt_tokens": 12, "batch": 2, "new_tokens": 3, "repeats": 4}


def pruned() -> torch.nn.Module:
    model = build_tiny("llama")
    apply_plan(model, make_plan(model, {f"mlp.{layer}": torch.rand(48) for layer in range(3)}, 0.2))
    return model


def test_decodes_what_generate_does(tiny, tokens) -> None:
    first, cache = prefill(tiny, tokens)
    found = torch.cat([first, decode(tiny, first, cache, range(7))], 1)
    settings = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    tiny.generation_config.eos_token_id = None
    assert torch.equal(found, tiny.generate(tokens, **settings)[:, tokens.shape[1] :])


@pytest.mark.parametrize("prompts", [1, 6])
def test_the_head_reads_contiguous_states_of_the_last_tokens_alone(tiny, tokens, prompts: int) -> None:
    """Else the product with several prompts copies its weights for each of them."""
    read: list[torch.Tensor] = []
    with tiny.lm_head.register_forward_pre_hook(lambda _, given: read.append(given[0])):
        first, cache = prefill(tiny, tokens[:prompts])
        decode(tiny, first, cache, range(2))
    assert [each.shape[:2] for each in read] == [(prompts, 1)] * 3
    assert all(each.is_contiguous() for each in read)
    assert torch.equal(first, tiny(tokens[:prompts]).logits[:, -1:].argmax(-1))


def test_flops_by_hand(tiny) -> None:
    apply_plan(tiny, {f"mlp.{layer}": torch.arange(40 + layer) for layer in range(3)})
    length, layers = 20, SHAPE["num_hidden_layers"]
    linears = [part for part in tiny.model.modules() if isinstance(part, torch.nn.Linear)]
    weights = sum(part.weight.numel() for part in linears)
    attended = SHAPE["num_attention_heads"] * tiny.model.layers[0].self_attn.head_dim * length**2
    head = tiny.lm_head.weight.numel()  # at the last position only
    expected = 2 * (length * weights + layers * 2 * attended + head)
    assert prefill_flops(tiny, torch.zeros(1, length, dtype=torch.int64)) == expected


def test_values_come_from_the_rounds_and_speedups_from_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that makes the dense model twice as slow, and the first round far slower than the others."""
    small, dense = pruned(), build_tiny("llama")
    clock, order = [0.0], []
    per_turn = 1 + WORKLOAD["new_tokens"]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    plain = timing._next_token

    def tick(model, tokens, cache) -> torch.Tensor:
        warm_up = 1000 if len(order) < 2 + 2 * per_turn else 1
        order.append(model)
        clock[0] += (1 + len(order) / 1e3) * warm_up * (2 if model is dense else 1)
        return plain(model, tokens, cache)

    monkeypatch.setattr(timing, "_next_token", tick)
    values, items = Latency(**WORKLOAD).run(Subject(small, dense))
    found, medians = {value.metric: value for value in values}, items.median()
    prefill, decode = "prefill_seconds", "decode_tokens_per_second"
    assert found[prefill].value == medians[prefill] == pytest.approx(1, rel=0.1)
    assert found[decode].value == pytest.approx(2, rel=0.1)
    speedups = medians[f"dense_{prefill}"] / medians[prefill], medians[decode] / medians[f"dense_{decode}"]
    assert [found[f"{name}_speedup"].value for name in ("prefill", "decode")] == pytest.approx(speedups)
    assert speedups == pytest.approx((2, 2), rel=0.1)
    assert all(value.n == 4 and value.stderr > 0 for value in values[:4])
    assert found["parameters"].value == count_parameters(small)
    turns = ["dense" if model is dense else "small" for model in order[2:][::per_turn]][:10]
    assert turns == ["small", "dense", "dense", "small"] * 2 + ["small", "dense"], "they take turns"


@pytest.mark.parametrize("kept", [[0, 1], [1]])
def test_memory_is_that_of_weights_and_cache_by_hand(kept: list[int]) -> None:
    """A group that goes takes its weights and its share of the cache."""
    model = build_tiny("llama")
    apply_plan(model, {f"attention.{layer}": torch.tensor(kept) for layer in range(3)})
    values, _ = Latency(**WORKLOAD | {"repeats": 1}).run(Subject(model))
    (found,) = [value.value for value in values if value.metric == "memory_bytes"]
    head_dim = SHAPE["hidden_size"] // SHAPE["num_attention_heads"]
    cache = 2 * 3 * WORKLOAD["batch"] * WORKLOAD["prompt_tokens"] * len(kept) * head_dim
    assert found == 4 * (count_parameters(model) + cache), "float32"


def test_filled_up_widths_are_timed_and_the_cut_ones_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = pruned(), []
    cut, plain = model.model.layers[0].mlp.down_proj.weight.shape[1], timing._next_token

    def watched(model, *rest) -> torch.Tensor:
        widths.append(model.model.layers[0].mlp.down_proj.weight.shape[1])
        return plain(model, *rest)

    monkeypatch.setattr(timing, "_next_token", watched)
    values, _ = Latency(**WORKLOAD | {"repeats": 1, "align": 8}).run(Subject(model))
    rounds = 1 + 2 * (1 + WORKLOAD["new_tokens"])
    assert cut % 8 and widths == [cut + -cut % 8] * rounds + [cut], "operations are those of the cut model"
    found = {value.metric: value.value for value in values}
    assert found["parameters"] == count_parameters(model) < count_parameters(build_tiny("llama"))


def test_the_dense_model_alone_has_no_speedup() -> None:
    values, items = Latency(**WORKLOAD | {"repeats": 1}).run(Subject(build_tiny("qwen2")))
    assert [value.metric for value in values] == [
        *("prefill_seconds", "decode_tokens_per_second", "flops", "parameters", "memory_bytes")
    ]
    assert values[0].stderr is None, "one repeat has no spread"
    assert list(items) == ["item", "prefill_seconds", "decode_tokens_per_second"]


def test_standard_error_is_that_of_a_median() -> None:
    """The median of n normal numbers has a standard error of √(π/2n)."""
    numbers = pd.Series(np.random.default_rng(0).normal(10, 1, size=400))
    assert timing.median_value("x", numbers).stderr == pytest.approx((np.pi / 800) ** 0.5, rel=0.3)
    ratio = timing.median_value("x", 3 * numbers, numbers)
    assert ratio.value == pytest.approx(3)
    assert ratio.stderr == pytest.approx(0, abs=1e-9), "resampled in pairs"
