"""Counts from a configuration, beside those of built models and of torch's own counter."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from conftest import ARCHITECTURES, build_tiny
from peft import LoraConfig, get_peft_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hfprune.criteria import make_criterion
from hfprune.evaluation.work import Case
from hfprune.models.head import chunks, hidden_states
from hfprune.models.meter import DONE, meter
from hfprune.models.shape import Shape, known_shapes
from hfprune.models.units import count_parameters
from hfprune.plans.planning import apply_plan
from hfprune.recovery.held_out import sequence_losses
from hfprune.recovery.options import Lora
from hfprune.recovery.packing import Packed
from hfprune.scoring.scored import score

BLOCKS, LENGTH = 3, 17


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest):
    built = build_tiny(request.param)
    meter(built)
    return built


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (BLOCKS, LENGTH), generator=torch.Generator().manual_seed(0))


class Untracked(nullcontext):
    """Stands for torch's tracker of modules."""

    parents = frozenset({"Global"})


def counted(work: Callable) -> tuple[float, float]:
    """Return the operations by torch's counter and by our meter; plain attention, which the counter knows."""
    before, counter = DONE.flops, FlopCounterMode(display=False)
    # The counter's hooks, by which it knows a product's module, break an autograd.grad inside a backward pass.
    counter.mod_tracker = Untracked()
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops(), DONE.flops - before


def shape(model) -> Shape:
    return Shape.of_config(model.config.to_dict())


def test_parameters_of_built_models(model) -> None:
    assert shape(model).parameters == count_parameters(model)


def test_parameters_of_the_papers_models() -> None:
    """The numbers of parameters that the hub states for their safetensors."""
    published = {
        "llama-2-7b": 6_738_415_616,
        "llama-3.2-3b": 3_212_749_824,
        "llama-3.2-1b": 1_235_814_400,
        "qwen2.5-7b": 7_615_616_512,
        "qwen2.5-1.5b": 1_543_714_304,
        "qwen3-1.7b": 1_720_574_976,
        "qwen2.5-0.5b": 494_032_768,
        "smollm2-135m": 134_515_008,
        "gemma-3-270m-q4": 268_098_176,
    }
    assert {name: known_shapes()[name].parameters for name in published} == published


def test_a_pass_with_head(model, blocks) -> None:
    def work() -> None:
        for _ in chunks(model, hidden_states(model, blocks).flatten(0, 1)):
            pass

    tokens = blocks.numel()
    expected, metered = counted(work)
    assert shape(model).forward(tokens, tokens * LENGTH, tokens) == expected == metered


@pytest.mark.parametrize(
    ("name", "kinds", "passes"),
    [
        # Passes forward, through the head forward, backward, and with weights' gradients.
        ("entropy", ["neurons"], (1, 1, 1, 0)),
        ("entropy", ["neurons", "key_value_groups"], (1, 1, 1, 0)),
        ("taylor", ["neurons"], (1, 1, 1, 1)),
        # Cross-entropy chooses what the student lacks; then teacher and student are read.
        ("distillation", ["neurons"], (3, 3, 2, 0)),
    ],
)
def test_scoring(model, blocks, name: str, kinds: list[str], passes: tuple[int, ...]) -> None:
    criterion = make_criterion(name, {}, units=kinds)
    expected, metered = counted(lambda: score({"it": criterion}, model, blocks, kinds))
    forward, head, backward, weights = passes
    tokens, found = blocks.numel(), shape(model)
    predicted = (
        forward * found.forward(tokens, tokens * LENGTH)
        + head * found.forward(0, 0, tokens)
        + backward * found.backward(tokens, tokens * LENGTH, from_attention="key_value_groups" in kinds)
        + weights * 2 * tokens * found.layers * found.unit_weights(["neurons"])
    )
    assert predicted == metered == expected


def test_training(model, blocks) -> None:
    projections = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=projections, task_type="CAUSAL_LM", init_lora_weights=False)
    )
    adapted.train()
    tokens = blocks.numel()
    before = shape(model)
    expected, metered = counted(
        lambda: adapted(input_ids=blocks, labels=blocks, use_cache=False).loss.backward()
    )
    assert before.training(tokens, tokens * LENGTH, 4) == metered == expected


def test_a_measured_step_of_training(model, blocks) -> None:
    """The learning curve: a forward pass with adapters and the head at every position."""
    settings = Lora(rank=4, length=LENGTH, max_steps=1)
    case = Case(shape(model), "float32", on_gpu=False, room=1e9)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=[*settings.targets], task_type="CAUSAL_LM")
    )
    held_out = Packed(blocks, blocks, torch.arange(LENGTH).expand_as(blocks))
    expected, metered = counted(lambda: sequence_losses(adapted, held_out, 2))
    work, without = (case.train(settings, 8, measured=n) for n in (len(blocks), 0))
    assert work.flops - without.flops == pytest.approx(expected) and metered == expected
    assert work.memory == without.memory and work.moved > without.moved


def test_a_cut_model(model, blocks) -> None:
    """A plan with other widths in every layer: the shape has their mean."""
    kept = {f"mlp.{layer}": torch.arange(width) for layer, width in enumerate((40, 17, 24))}
    hidden_states(model, blocks)
    apply_plan(model, kept)
    expected, metered = counted(lambda: hidden_states(model, blocks))
    tokens, found = blocks.numel(), replace(shape(build_like(model)), neurons=27)
    assert found.forward(tokens, tokens * LENGTH) == pytest.approx(expected) == metered


def build_like(model):
    return build_tiny(next(n for n, (kind, _, _) in ARCHITECTURES.items() if isinstance(model, kind)))
