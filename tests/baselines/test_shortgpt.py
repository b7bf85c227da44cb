"""ShortGPT against a naive reference, on models that plain transformers loads again."""

import json
from pathlib import Path

import pytest
import torch
from conftest import build_tiny, reload
from smoke import save_model

from hfprune.baselines.shortgpt import block_influence, blocks_to_remove, remove_blocks, shortgpt
from hfprune.calibration import save_blocks
from hfprune.errors import HfpruneError


@torch.no_grad()
def naive_influence(model, tokens: torch.Tensor) -> list[float]:
    """Return 1 - mean cosine between each block's input and output, token by token, from full hidden states."""
    states: list[list[torch.Tensor]] = []
    for block in tokens:
        caught: list[torch.Tensor] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, inputs, kept=caught: kept.append(inputs[0][0]))
            for layer in [*model.model.layers, model.model.norm]
        ]
        model(block.unsqueeze(0))
        states.append(caught)
        for handle in handles:
            handle.remove()
    return [
        1
        - sum(
            float(x @ y / (x.norm() * y.norm()))
            for caught in states
            for x, y in zip(caught[layer].double(), caught[layer + 1].double(), strict=True)
        )
        / tokens.numel()
        for layer in range(len(model.model.layers))
    ]


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_influence_is_that_of_the_formula(tiny, tokens, batch_tokens: int) -> None:
    influence = block_influence(tiny, tokens, batch_tokens)
    assert influence.tolist() == pytest.approx(naive_influence(tiny, tokens), rel=1e-4)


def test_a_block_that_does_nothing_has_no_influence_and_goes_without_a_trace(tiny, tokens) -> None:
    with torch.no_grad():
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            for parameter in tiny.model.layers[1].get_submodule(name).parameters():
                parameter.zero_()
    influence = block_influence(tiny, tokens, 1000)
    assert influence[1] == pytest.approx(0, abs=1e-6) and influence.argmin() == 1
    expected = tiny(tokens).logits
    remove_blocks(tiny, [1])
    torch.testing.assert_close(tiny(tokens).logits, expected)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_checkpoint_loads_plainly_and_says_what_is_gone(architecture: str, tmp_path: Path) -> None:
    save_model(architecture, tmp_path / "dense")
    tokens = torch.randint(0, 90, (4, 12), generator=torch.Generator().manual_seed(1))
    save_blocks(tmp_path / "blocks.safetensors", tokens, {})
    shortgpt(tmp_path / "dense", tmp_path / "blocks.safetensors", 0.2, tmp_path / "out")
    dense, pruned = reload(tmp_path / "dense"), reload(tmp_path / "out")
    said = json.loads((tmp_path / "out/config.json").read_text())["shortgpt"]
    influence = naive_influence(dense, tokens)
    assert said["influence"] == pytest.approx(influence, rel=1e-4)
    assert said["removed"] == [influence.index(min(influence))]
    remove_blocks(dense, said["removed"])
    assert torch.equal(pruned(tokens).logits, dense(tokens).logits)
    # With the cache, which knows layers by their number.
    assert pruned.generate(tokens[:1], max_new_tokens=3, do_sample=False).shape == (1, 15)


def test_number_of_blocks_is_the_nearest(tiny) -> None:
    share = sum(p.numel() for p in tiny.model.layers[0].parameters()) / sum(
        p.numel() for p in tiny.parameters()
    )
    assert [blocks_to_remove(tiny, part * share) for part in (0.51, 1.49, 1.51, 2.49)] == [1, 1, 2, 2]
    for part, nearest in ((0.49, 0), (2.51, 3)):
        with pytest.raises(HfpruneError, match=f"nearest to removing {nearest} of 3 decoder blocks; choose"):
            blocks_to_remove(tiny, part * share)


def test_sliding_attention_goes_with_its_block(tokens) -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    model = build_tiny("qwen3", layer_types=kinds, use_sliding_window=True, sliding_window=4)
    remove_blocks(model, [0])
    assert model.config.layer_types == kinds[1:]
    assert model(tokens).logits.isfinite().all()
