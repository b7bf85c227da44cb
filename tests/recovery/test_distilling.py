"""The distillation loss beside naive autograd over whole logits, the training by it, and the step that is kept."""

from pathlib import Path

import pytest
import torch
from conftest import build_tiny
from torch.nn.functional import kl_div

from hfprune.errors import HfpruneError
from hfprune.plans.planning import apply_plan
from hfprune.recovery import lora
from hfprune.recovery.conversations import IGNORED
from hfprune.recovery.distilling import divergences
from hfprune.recovery.held_out import best_step, needed, response_tokens
from hfprune.recovery.packing import Packed, all_learnt
from hfprune.settings.recovery import Lora

LORA = Lora(rank=4, batch=4, length=16, max_steps=4, keep="best", dropout=0, schedule="constant")


def student(architecture: str):
    model = build_tiny(architecture)
    apply_plan(model, {f"mlp.{layer}": torch.arange(0, 48, 2) for layer in range(3)})
    return model


def sequences(count: int) -> Packed:
    """Return random tokens, of which a third is to be learnt; in each sequence, positions begin anew once."""
    tokens = torch.randint(97, (count, 16), generator=torch.Generator().manual_seed(5), dtype=torch.int32)
    labels = tokens.where((tokens % 3 == 0) | (torch.arange(16) == 15), IGNORED)
    return Packed(tokens, labels, torch.arange(16, dtype=torch.int32).repeat(count, 1) % 9)


def naive(model, teacher, packed: Packed, cap: float = 0) -> torch.Tensor:
    """Return KL(teacher ‖ student) of each position that predicts a label, from all logits."""
    read = {"input_ids": packed.tokens.long(), "position_ids": packed.positions.long(), "use_cache": False}
    both = (one(**read).logits[:, :-1] for one in (model, teacher))
    own, other = ((cap * torch.tanh(x / cap) if cap else x).log_softmax(-1) for x in both)
    found = kl_div(own, other.detach(), log_target=True, reduction="none").sum(-1)
    return found[packed.labels[:, 1:] != IGNORED]


@pytest.mark.parametrize(("architecture", "cap"), [("llama", 0), ("qwen2", 0), ("llama", 0.4)])
def test_values_and_gradients_are_those_of_autograd(architecture: str, cap: float, monkeypatch) -> None:
    monkeypatch.setattr("hfprune.models.head.head_positions", lambda *_, **__: 3)  # many chunks
    adapted, teacher = lora.with_adapters(student(architecture), LORA, 0).double(), build_tiny(architecture)
    teacher, packed = teacher.double(), sequences(3)
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    for weight in weights:
        weight.data += 0.1 * torch.randn_like(weight)
    expected = naive(adapted, teacher, packed, cap)
    for model in (adapted.get_base_model(), teacher):
        model.config.final_logit_softcapping = cap or None
    scale = torch.linspace(0.5, 2, len(expected), dtype=torch.double)
    inputs, targets = needed(*(part.long() for part in vars(packed).values()))
    found = divergences(adapted, teacher, inputs, targets != IGNORED)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    wanted, gradients = (torch.autograd.grad((x * scale).sum(), weights) for x in (expected, found))
    torch.testing.assert_close(gradients, wanted, rtol=1e-8, atol=1e-12)


def train(state: Path, packed: Packed, tokens: int = 64, teacher=None, held_out=None, **changes):
    settings = LORA.model_copy(update=changes)
    more = {"seed": 1, "batch_tokens": tokens, "state": state, "held_out": held_out, "teacher": teacher}
    return lora.train_adapter(student("llama"), packed, settings, **more)


@pytest.mark.parametrize("tokens", [16, 64])
def test_training_comes_nearer_the_dense_model(tmp_path: Path, tokens: int) -> None:
    """One sequence at a time or a whole step: the loss is that of autograd, in training and where measured."""
    packed, teacher = all_learnt(sequences(4)), build_tiny("llama")
    before = float(naive(student("llama"), teacher, packed).detach().mean())
    adapted, course = train(tmp_path, packed, tokens, teacher, packed, learning_rate=1e-2)
    count = response_tokens(packed)
    assert count == [14] * 4  # neither a first token nor a restart of the positions
    assert [course.losses[0], sum(course.curve[0]) / 4] == pytest.approx([before] * 2, rel=1e-5)
    step, least = best_step(course.curve, count)
    assert step and least < 0.8 * before
    assert float(naive(adapted.eval(), teacher, packed).detach().mean()) == pytest.approx(least, rel=1e-5)


def test_where_no_step_is_better_than_none_the_adapter_changes_nothing(tmp_path: Path, capsys) -> None:
    packed, teacher = all_learnt(sequences(4)), build_tiny("llama")
    with pytest.raises(HfpruneError, match="needs held-out sequences"):
        train(tmp_path, packed)
    adapted, course = train(tmp_path, packed, teacher=teacher, held_out=packed, learning_rate=0.3)
    assert best_step(course.curve, response_tokens(packed))[0] == 0
    assert sum(course.curve[4]) > 2 * sum(course.curve[0])
    assert "held out, step 4 of 4: loss" in capsys.readouterr().err
    tokens = packed.tokens.long()
    assert torch.equal(adapted.eval()(tokens).logits, student("llama")(tokens).logits)
