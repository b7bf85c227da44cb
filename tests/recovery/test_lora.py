"""Training and its curve: what changes, that pairs are isolated, that neither a kill nor the batch size shows."""

from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from conftest import build_tiny
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from smoke import PAIRS, build_tokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup, set_seed

from hfprune.errors import HfpruneError
from hfprune.plans.planning import apply_plan
from hfprune.recovery import adapter
from hfprune.recovery import lora as recovery
from hfprune.recovery.conversations import IGNORED
from hfprune.recovery.held_out import response_tokens, trained
from hfprune.recovery.lora import train_adapter
from hfprune.recovery.packing import Packed, pack
from hfprune.settings.recovery import Lora, half, measured_steps

TOKENIZER = build_tokenizer()
SETTINGS = Lora(rank=4, batch=4, length=64, max_steps=5)
# What a packing makes of short pairs or long ones.
PACKINGS = {
    "plain": (PAIRS[:8], Lora(packing="plain", length=64)),
    "isolated": (
        [{"instruction": f"How many {n}?", "input": "", "output": f"{n} {'wells ' * n}"} for n in range(12)],
        Lora(length=450),
    ),
}


def pruned(architecture: str) -> PreTrainedModel:
    """A tiny model that has lost every other neuron."""
    model = build_tiny(architecture, vocab_size=len(TOKENIZER))
    apply_plan(model, {f"mlp.{layer}": torch.arange(0, 48, 2) for layer in range(3)})
    return model


def train(model: PreTrainedModel, packed: Packed, state: Path, tokens: int = 2048, held_out=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_adapter(model, packed, settings, seed=5, batch_tokens=tokens, state=state, held_out=held_out)


def rows(packed: Packed, start: int, end: int) -> Packed:
    """Return some of the sequences."""
    return Packed(*(part[start:end] for part in (packed.tokens, packed.labels, packed.positions)))


@cache
def packed_by(packing: str) -> Packed:
    pairs, settings = PACKINGS[packing]
    return pack(pa.Table.from_pylist(pairs), TOKENIZER, settings, seed=3)


@pytest.fixture
def packed() -> Packed:
    """Short sequences, where it does not matter how they are packed."""
    return packed_by("plain")


def test_a_long_training_prints_a_hundred_lines(capsys) -> None:
    for step in range(1, 251):
        state = SimpleNamespace(global_step=step, max_steps=250)
        recovery._Watch().on_log(None, state, None, logs={"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 125 and lines[0] == "step 2 of 250: loss 1.0000"


def loss_of_pairs_alone(model: PreTrainedModel, packed: Packed) -> float:
    """Return the mean loss over response tokens, each run of positions in a forward pass of its own."""
    losses = []
    for tokens, labels, positions in zip(packed.tokens, packed.labels, packed.positions, strict=True):
        starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
        for start, end in pairwise(starts):
            targets = labels[start + 1 : end].long()
            with torch.no_grad():
                logits = model(tokens[None, start:end].long()).logits[0, :-1]
            chosen = targets != IGNORED
            losses += cross_entropy(logits[chosen], targets[chosen], reduction="none").tolist()
    return sum(losses) / len(losses)


def losses_of_a_plain_loop(model: PreTrainedModel, packed: Packed, settings: Lora, seed: int) -> list[float]:
    """Train with peft, whole sequences and all logits, as its users do."""
    set_seed(seed)
    names = {"lora_alpha": settings.alpha, "lora_dropout": 0.0, "task_type": "CAUSAL_LM"}
    adapted = get_peft_model(model, LoraConfig(r=settings.rank, target_modules=[*settings.targets], **names))
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=0)
    schedule = get_cosine_schedule_with_warmup(optimizer, 0, settings.max_steps)
    sampler, order = SeedableRandomSampler(range(len(packed.tokens)), data_seed=seed), []
    for epoch in range(9):
        sampler.set_epoch(epoch)
        order += torch.tensor([*sampler]).split(settings.batch)
    losses = []
    for rows in order[: settings.max_steps]:
        parts = (packed.tokens, packed.labels, packed.positions)
        tokens, labels, positions = (part[rows].long() for part in parts)
        loss = adapted(input_ids=tokens, labels=labels, position_ids=positions, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("architecture", "packing"), [("llama", "plain"), ("qwen2", "isolated"), ("qwen3", "isolated")]
)
def test_losses_are_those_of_peft_and_of_pairs_alone_and_the_adapters_alone_change(
    architecture: str, packing: str, tmp_path: Path, capsys
) -> None:
    """One sequence at a time or several; the held-out losses with a pass for each pair."""
    packed, changes = packed_by(packing), {"max_steps": 5, "learning_rate": 2e-3, "dropout": 0}
    held_out, rest = rows(packed, 0, 3), rows(packed, 3, len(packed.tokens))
    expected = losses_of_a_plain_loop(pruned(architecture), rest, SETTINGS.model_copy(update=changes), seed=5)
    assert expected[-1] < expected[0]
    alone = [rows(held_out, row, row + 1) for row in range(3)]
    before = [loss_of_pairs_alone(pruned(architecture), each) for each in alone]
    for tokens in (1, 4096):
        capsys.readouterr()
        folder = tmp_path / str(tokens)
        adapted, course = train(pruned(architecture), rest, folder, tokens, held_out=held_out, **changes)
        assert course.losses == pytest.approx(expected, rel=1e-4)
        said = capsys.readouterr()
        assert not said.out and len([x for x in said.err.splitlines() if x.startswith("step ")]) == 5
        assert course.curve[0] == pytest.approx(before, rel=1e-5)
        after = [loss_of_pairs_alone(adapted.eval(), each) for each in alone]
        assert course.curve[5] == pytest.approx(after, rel=1e-4)
        assert course.curve[5] != pytest.approx(before, rel=1e-3)
    assert response_tokens(held_out) == [int((row != IGNORED).sum()) for row in held_out.labels[:, 1:]]
    learnt = trained(adapted)
    assert len(learnt) == 2 * 7 * 3
    assert all(weight.abs().sum() > 0 for weight in learnt.values())  # B starts at zero
    weights = adapted.get_base_model().state_dict()
    found = {name.replace(".base_layer", ""): weight for name, weight in weights.items()}
    assert all(torch.equal(found[name], weight) for name, weight in pruned(architecture).state_dict().items())


def test_without_a_number_of_steps_each_sequence_is_read_once_an_epoch(
    packed: Packed, tmp_path: Path
) -> None:
    few = rows(packed, 0, 6)
    _, course = train(pruned("llama"), few, tmp_path, max_steps=None, epochs=2)
    assert len(course.losses) == 2 * 2, "four sequences a step, and the two that are left"


def test_killed_run_comes_to_the_same_adapter(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a point of its learning curve lost, or measured twice once it is saved."""
    held_out = rows(packed, 0, 3)
    _, unmeasured = train(pruned("qwen3"), packed, tmp_path / "unmeasured", dropout=0.2)
    # As if step 2 was the best: what was kept of it outlives the kill.
    monkeypatch.setattr("hfprune.recovery.held_out.best_step", lambda curve, _: (min(2, max(curve)), 0.0))
    how = {"held_out": held_out, "keep": "best", "dropout": 0.2}
    whole, course = train(pruned("qwen3"), packed, tmp_path / "whole", **how)
    assert course.losses == unmeasured.losses, "to measure changes nothing, and no random number"
    monkeypatch.setattr(recovery, "SAVE_SECONDS", 0)
    measured, measure = [], recovery.Curve._measure

    def counted(self, state, model) -> None:
        measured.append(state.global_step)
        measure(self, state, model)

    monkeypatch.setattr(recovery.Curve, "_measure", counted)
    steps, watch = [], recovery._Watch.on_log

    def kill(self, args, state, control, **kwargs) -> None:
        steps.append(state.global_step)
        if steps == [1, 2, 3]:  # before the third step is saved
            raise KeyboardInterrupt
        watch(self, args, state, control, **kwargs)

    monkeypatch.setattr(recovery._Watch, "on_log", kill)
    with pytest.raises(KeyboardInterrupt):
        train(pruned("qwen3"), packed, tmp_path / "killed", **how)
    half = tmp_path / "killed/checkpoint-4"  # as if killed while it was written
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 4')
    resumed, again = train(pruned("qwen3"), packed, tmp_path / "killed", **how)
    assert steps[:6] == [1, 2, 3, 3, 4, 5]
    assert again == course
    assert [*course.curve] == [0, 1, 2, 3, 4, 5] and measured == [0, 1, 2, 3, 3, 4, 5]
    expected = trained(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in trained(resumed).items())


def test_a_run_goes_on_from_the_last_step_that_was_saved_whole(tmp_path: Path) -> None:
    for step, text in ((9, "{}"), (10, "{}"), (11, "{")):
        (folder := tmp_path / f"checkpoint-{step}").mkdir()
        (folder / "trainer_state.json").write_text(text)
    assert recovery._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_memory_that_runs_out_halves_the_sequences_at_a_time_and_not_the_step(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The first passes fit: what they have trained is taken back."""
    whole, expected = train(pruned("llama"), packed, tmp_path / "whole", 1, dropout=0, max_steps=3)
    passed, step = [], recovery.Trainer.training_step

    def limited(self, model, inputs, *rest):
        passed.append(len(inputs["input_ids"]))
        if passed[-1] > 1 and len(passed) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(recovery.Trainer, "training_step", limited)
    length = packed.tokens.shape[1]
    adapted, course = train(pruned("llama"), packed, tmp_path / "held", 4 * length, dropout=0, max_steps=3)
    assert passed[0] == 4 and 2 in passed and {*passed[passed.index(1) :]} == {1}
    said = capsys.readouterr().err
    assert f"memory ran out with {4 * length} tokens at a time: now half as many" in said
    assert course.losses == pytest.approx(expected.losses, rel=1e-4)
    for name, weight in trained(adapted).items():
        torch.testing.assert_close(weight, trained(whole)[name], rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(recovery, "should_reduce_batch_size", lambda error: True)
    monkeypatch.setattr(recovery.Trainer, "training_step", lambda *_: 1 / 0)
    with pytest.raises(HfpruneError, match=f"not even one sequence of {length} tokens fits"):
        train(pruned("llama"), packed, tmp_path / "none", 1)


def test_merged_adapter_answers_as_the_adapter_does(packed: Packed, tmp_path: Path) -> None:
    adapted, _ = train(pruned("qwen2"), packed, tmp_path / "state")
    folder = tmp_path / "adapter"
    folder.mkdir()
    adapter.save_adapter(adapted, folder)
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert len(load_file(folder / "adapter_model.safetensors")) == 2 * 7 * 3
    merged = adapter.merge_adapter(pruned("qwen2"), folder, {})
    tokens = packed.tokens[:2].long()
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, adapted.eval()(tokens).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(merged(tokens).logits, pruned("qwen2")(tokens).logits, atol=1e-2)
    with pytest.raises(HfpruneError, match="the adapter does not fit the model"):
        adapter.merge_adapter(build_tiny("qwen2", vocab_size=len(TOKENIZER)), folder, {})
    with pytest.raises(HfpruneError, match="not an adapter"):
        adapter.merge_adapter(pruned("qwen2"), tmp_path, {})


def test_every_doubling_half_of_the_steps_and_the_last_and_the_tokens_until_then() -> None:
    assert (measured_steps(1), measured_steps(3)) == ([0, 1], [0, 1, 2, 3])
    assert measured_steps(20) == [0, 1, 2, 4, 8, half(20), 16, 20]
    assert measured_steps(256) == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
    for batch, sizes in ((4, [4, 4, 4, 4, 1]), (4, [4, 4, 4, 4]), (4, [3]), (1, [1] * 8)):  # of an epoch
        settings = Lora(batch=batch, length=10)
        for step in range(3 * len(sizes) + 1):
            assert settings.trained_tokens(step, sum(sizes)) == 10 * sum((sizes * 3)[:step])


def test_a_bfloat16_model_is_measured_as_it_is_trained_with_float32_adapters(
    packed: Packed, tmp_path: Path
) -> None:
    """Before the first step, the loss of that step's sequences is its own loss, up to coarse rounding."""
    count = len(packed.tokens)
    model = pruned("llama").to(torch.bfloat16)
    adapted, course = train(model, packed, tmp_path, held_out=packed, batch=count, max_steps=1, dropout=0)
    tokens = torch.tensor(response_tokens(packed)).double()
    mean = float((torch.tensor(course.curve[0]).double() * tokens).sum() / tokens.sum())
    assert mean == pytest.approx(course.losses[0], rel=2e-3)
    assert {weight.dtype for weight in trained(adapted).values()} == {torch.float32}
    assert adapted.dtype == torch.bfloat16
    with pytest.raises(HfpruneError, match="float16 trains on a GPU only"):
        train(pruned("llama").to(torch.float16), packed, tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HfpruneError, match=r"the loss is (nan|inf) at step \d; choose a lower learning_rate"):
        train(pruned("llama"), packed, tmp_path / "state", learning_rate=1e30, schedule="constant")
    monkeypatch.setattr("hfprune.recovery.held_out.sequence_losses", lambda *_: [1.0, float("nan")])
    with pytest.raises(HfpruneError, match="the loss is nan at step 0; choose a lower learning_rate"):
        train(pruned("llama"), packed, tmp_path / "measured", held_out=rows(packed, 0, 2))
