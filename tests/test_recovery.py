"""Recovery: what is learnt from, what changes, and that neither a kill nor the batch size shows."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from conftest import build_tiny
from safetensors.torch import load_file
from smoke import PAIRS, build_tokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from hfprune import recovery
from hfprune.errors import HfpruneError
from hfprune.plans import apply_plan
from hfprune.recovery import IGNORED, Packed, pack, prompt, train_adapter
from hfprune.study import Lora

TOKENIZER = build_tokenizer()
TABLE = pa.Table.from_pylist(PAIRS)
SETTINGS = Lora(rank=4, batch=4, length=64, max_steps=5)


def pruned(architecture: str) -> PreTrainedModel:
    """A tiny model that has lost every other neuron."""
    model = build_tiny(architecture, vocab_size=len(TOKENIZER))
    apply_plan(model, [torch.arange(0, 48, 2)] * 3)
    return model


def train(model: PreTrainedModel, packed: Packed, state: Path, tokens: int = 128, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_adapter(model, packed, settings, seed=5, batch_tokens=tokens, state=state)


@pytest.fixture(scope="module")
def packed() -> Packed:
    return pack(TABLE, TOKENIZER, 64, 8, seed=3)


def adapters(adapted: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in adapted.named_parameters() if p.requires_grad}


def test_prompt_is_the_one_of_alpaca() -> None:
    assert prompt({"instruction": "Add.", "input": "1, 2"}) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n"
    )
    assert prompt({"instruction": "Say {x}.", "input": ""}) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay {x}.\n\n### Response:\n"
    )


def test_loss_is_on_responses_and_their_ends_only() -> None:
    pairs = [{"instruction": "Who?", "input": "", "output": "The fort."},
             {"instruction": "When?", "input": "In 1811.", "output": "1811"}]  # fmt: skip
    found = pack(pa.Table.from_pylist(pairs), TOKENIZER, 10, None, seed=0)
    parts = [
        [(TOKENIZER.bos_token_id, False)]
        + [(token, False) for token in TOKENIZER.encode(prompt(pair), add_special_tokens=False)]
        + [(token, True) for token in TOKENIZER.encode(pair["output"], add_special_tokens=False)]
        + [(TOKENIZER.eos_token_id, True)]
        for pair in pairs
    ]
    expected = set()
    for joined in (parts[0] + parts[1], parts[1] + parts[0]):  # whichever order the seed gives
        cut = [joined[start : start + 10] for start in range(0, len(joined) - 9, 10)]
        learnt = [block for block in cut if any(is_response for _, is_response in block[1:])]
        expected.add(str([[(t, t if r else IGNORED) for t, r in block] for block in learnt]))
    rows = zip(found.tokens.tolist(), found.labels.tolist(), strict=True)
    assert str([list(zip(*row, strict=True)) for row in rows]) in expected


def test_order_is_seeded_and_examples_are_drawn() -> None:
    a, b = (pack(TABLE, TOKENIZER, 64, 8, seed=3).tokens for _ in range(2))
    assert torch.equal(a, b)
    c = pack(TABLE, TOKENIZER, 64, 8, seed=4).tokens
    assert a.shape != c.shape or not torch.equal(a, c)
    assert len(pack(TABLE, TOKENIZER, 64, None, seed=3).tokens) > 3 * len(a)
    with pytest.raises(HfpruneError, match=r"1 instruction pairs of .* fill no sequence of 5000 tokens"):
        pack(TABLE, TOKENIZER, 5000, 1, seed=3)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_training_changes_the_adapters_and_nothing_else(
    architecture: str, packed: Packed, tmp_path: Path
) -> None:
    model = pruned(architecture)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    adapted, losses = train(model, packed, tmp_path, max_steps=12, dropout=0)
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    trained = adapters(adapted)
    assert len(trained) == 2 * 7 * 3
    assert all(weight.abs().sum() > 0 for weight in trained.values())  # B starts at zero
    after = {name.replace(".base_layer", ""): weight for name, weight in model.state_dict().items()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_loss_is_the_mean_over_response_tokens_of_the_batch_however_it_is_split(
    packed: Packed, tmp_path: Path
) -> None:
    """The first step's loss, since adapters start out as nothing, is the pruned model's own."""
    model = pruned("llama")
    with torch.no_grad():
        logits = model(packed.tokens.long()).logits[:, :-1].flatten(0, 1)
    targets = packed.labels[:, 1:].flatten().long()
    chosen = targets != IGNORED
    expected = cross_entropy(logits[chosen], targets[chosen]).item()
    count = len(packed.tokens)
    curves = [
        train(pruned("llama"), packed, tmp_path / str(tokens), tokens, batch=count, max_steps=3, dropout=0)[1]
        for tokens in (64, 64 * count)
    ]
    assert curves[0][0] == pytest.approx(expected, rel=1e-5)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_killed_run_comes_to_the_same_adapter(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, losses = train(pruned("qwen3"), packed, tmp_path / "whole")
    monkeypatch.setattr(recovery, "SAVE_SECONDS", 0)
    steps = []
    watch = recovery._Watch.on_log

    def kill(self, args, state, control, **kwargs) -> None:
        steps.append(state.global_step)
        if steps == [1, 2, 3]:  # before the third step is saved
            raise KeyboardInterrupt
        watch(self, args, state, control, **kwargs)

    monkeypatch.setattr(recovery._Watch, "on_log", kill)
    with pytest.raises(KeyboardInterrupt):
        train(pruned("qwen3"), packed, tmp_path / "killed")
    half = tmp_path / "killed/checkpoint-4"  # as if killed while it was written
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 4')
    resumed, again = train(pruned("qwen3"), packed, tmp_path / "killed")
    assert [*dict.fromkeys(steps)] == [1, 2, 3, 4, 5]
    assert steps[:4] == [1, 2, 3, 3]
    assert again == losses
    expected = adapters(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in adapters(resumed).items())


def test_bfloat16_models_get_float32_adapters(packed: Packed, tmp_path: Path) -> None:
    adapted, _ = train(pruned("llama").to(torch.bfloat16), packed, tmp_path, max_steps=1)
    assert {weight.dtype for weight in adapters(adapted).values()} == {torch.float32}
    assert adapted.dtype == torch.bfloat16
    with pytest.raises(HfpruneError, match="float16 trains on a GPU only"):
        train(pruned("llama").to(torch.float16), packed, tmp_path)


def test_loss_that_is_not_finite_ends_the_run(packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(HfpruneError, match=r"the loss is (nan|inf) at step \d; choose a lower learning_rate"):
        train(pruned("llama"), packed, tmp_path, learning_rate=1e30, schedule="constant")


def test_merged_adapter_answers_as_the_adapter_does(packed: Packed, tmp_path: Path) -> None:
    adapted, _ = train(pruned("qwen2"), packed, tmp_path / "state")
    folder = tmp_path / "adapter"
    folder.mkdir()
    recovery.save_adapter(adapted, folder)
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert len(load_file(folder / "adapter_model.safetensors")) == 2 * 7 * 3
    merged = recovery.merge_adapter(pruned("qwen2"), folder, {})
    tokens = packed.tokens[:2].long()
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, adapted.eval()(tokens).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(merged(tokens).logits, pruned("qwen2")(tokens).logits, atol=1e-2)
    with pytest.raises(HfpruneError, match="the adapter does not fit the model"):
        recovery.merge_adapter(build_tiny("qwen2", vocab_size=len(TOKENIZER)), folder, {})
    with pytest.raises(HfpruneError, match="not an adapter"):
        recovery.merge_adapter(pruned("qwen2"), tmp_path, {})
