"""Counts from a configuration, beside those of built models, of torch's own counter and of the paper."""

from collections.abc import Callable
from contextlib import nullcontext
from weakref import WeakSet

import pandas as pd
import pytest
import torch
from conftest import ARCHITECTURES, build_tiny
from peft import LoraConfig, get_peft_model
from smoke import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hfprune.criteria import make_criterion
from hfprune.devices.known import UTILISATION, known_devices
from hfprune.models.head import hidden_states, logits
from hfprune.models.shape import Shape, known_shapes
from hfprune.models.units import count_parameters, units_of
from hfprune.recovery.lora import with_adapters
from hfprune.scoring.fitting import ScoringCost
from hfprune.scoring.reading import Sweep
from hfprune.scoring.recorders import GradientRecorder
from hfprune.scoring.samples import Scorer
from hfprune.scoring.score import score
from hfprune.settings.recovery import Lora

LENGTH = 64
# So large that no embedding, norm or first layer has much of the whole.
SIZES = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 8, "num_attention_heads": 8}


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest):
    return build_tiny(request.param, **SIZES)


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (3, LENGTH), generator=torch.Generator().manual_seed(0))


class Untracked(nullcontext):
    """Stands for torch's tracker of modules, whose hooks break an autograd.grad inside a backward pass."""

    parents = frozenset({"Global"})


def counted(work: Callable) -> float:
    """Return the operations by torch's counter, with plain attention, which it knows."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = Untracked()
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def shape(model) -> Shape:
    return Shape.of_config(model.config.to_dict())


def test_parameters(model) -> None:
    assert shape(model).parameters == pytest.approx(count_parameters(model), rel=0.01)
    # What the hub states for their safetensors.
    published = {"llama-2-7b": 6_738_415_616, "qwen2.5-7b": 7_615_616_512, "gemma-3-270m-q4": 268_098_176}
    for name, number in published.items():
        assert known_shapes()[name].parameters == pytest.approx(number, rel=1e-3)
    small = known_shapes()["llama-2-7b"].pruned(0.2)
    assert small.parameters == pytest.approx(0.8 * published["llama-2-7b"], rel=1e-3)


def test_a_forward_pass_is_counted_exactly(model, blocks) -> None:
    found = counted(lambda: logits(model, hidden_states(model, blocks)))
    assert shape(model).forward(blocks.numel(), LENGTH) == found


@pytest.mark.parametrize(
    ("name", "options", "passes"),
    [
        ("entropy", {}, 2),
        # With the gradients of weights.
        ("taylor", {"aggregation": "param_first"}, 3),
        # A backward pass for each label.
        ("fisher", {"labels": 4}, 5),
        # Cross-entropy chooses what the student lacks; then teacher and student are read.
        ("distillation", {}, 5),
        # The same, both by weights.
        ("sdmprune", {}, 7),
        ("flap", {}, 1),
        ("magnitude", {}, 0),
    ],
)
def test_scoring_takes_whole_passes(name: str, options: dict, passes: int, model, blocks) -> None:
    """2 N a token for each pass, of which the first layer's backward pass and some gradients are not needed."""
    criteria = {"it": make_criterion(name, options)}
    found = ScoringCost(shape(model), criteria, ["neurons"], "float32").operations(blocks.numel(), LENGTH)
    assert found == passes * shape(model).forward(blocks.numel(), LENGTH)
    assert found == pytest.approx(counted(lambda: score(criteria, model, blocks)), rel=0.15)


@pytest.mark.parametrize(
    ("name", "options"), [("entropy", {}), ("fisher", {"labels": 4}), ("distillation", {}), ("magnitude", {})]
)
def test_logits_become_gradients_once_a_backward_pass(
    name: str, options: dict, model, blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    formed, gradient = [], Sweep._logit_gradient

    def counting(self: Sweep, criterion, chunk: torch.Tensor, given) -> torch.Tensor:
        formed.append(chunk.numel())
        return gradient(self, criterion, chunk, given)

    monkeypatch.setattr(Sweep, "_logit_gradient", counting)
    criteria = {"it": make_criterion(name, options)}
    score(criteria, model, blocks)
    assert ScoringCost(shape(model), criteria, ["neurons"], "float32").logits(blocks.numel()) == sum(formed)


def test_training_takes_two_passes(model, blocks) -> None:
    projections = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    adapted = get_peft_model(model, LoraConfig(r=1, target_modules=projections, task_type="CAUSAL_LM"))
    found = counted(lambda: adapted.train()(input_ids=blocks, labels=blocks).loss.backward())
    assert 2 * shape(model).forward(blocks.numel(), LENGTH) == pytest.approx(found, rel=0.15)


class Saved:
    """A tensor that autograd keeps for as long as it keeps this."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def kept_by(model: torch.nn.Module, read: Callable) -> float:
    """Return the bytes of all distinct storages that the graph of a pass holds, weights excluded."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: WeakSet[Saved] = WeakSet()

    def pack(tensor: torch.Tensor) -> Saved:
        saved.add(found := Saved(tensor))
        return found

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda item: item.tensor):
        result = read()
    storages = {item.tensor.untyped_storage().data_ptr(): item.tensor.untyped_storage() for item in saved}
    assert result is not None  # its graph lives until here
    return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_scoring_and_training_keep_what_is_counted(architecture: str, blocks) -> None:
    model = build_tiny(architecture, **SIZES).to(torch.bfloat16)
    counts, layers = shape(model), SIZES["num_hidden_layers"]
    scorer = Scorer(make_criterion("entropy", {}), units_of(model, ["neurons"]), [])
    with GradientRecorder(model, [scorer], None).recording():
        found = kept_by(model, lambda: hidden_states(model, blocks))
    # The first layer's attention is outside the graph.
    assert blocks.numel() * (layers - 0.5) * counts.kept("bfloat16") == pytest.approx(found, rel=0.1)

    expected = blocks.numel() * layers * counts.trained("bfloat16", on_gpu=False)
    adapted = with_adapters(model, Lora(rank=4), seed=0)
    adapted.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as the Trainer does
        found = kept_by(adapted, lambda: model.model(input_ids=blocks, use_cache=False))
    assert expected == pytest.approx(found, rel=0.1)


def test_memory_that_runs_out_makes_batches_smaller() -> None:
    entropy = {"it": make_criterion("entropy", {})}
    llama = known_shapes()["llama-2-7b"]
    batches = [
        ScoringCost(llama, entropy, ["neurons"], "bfloat16", room).fitting(1024) for room in (85e9, 25e9, 1e9)
    ]
    assert 16 >= batches[0] > batches[1] > batches[2] == 1
    # Sums that are as large as weights are made in several passes.
    taylor = {"it": make_criterion("taylor", {"aggregation": "param_first"})}
    whole, parts = (ScoringCost(llama, taylor, ["neurons"], "bfloat16", room) for room in (400e9, 85e9))
    assert parts.peak(1024) < whole.peak(1024) and parts.operations(1, 1) > whole.operations(1, 1)


def test_memory_of_a_pass_by_hand() -> None:
    """Weights and five copies of a chunk of logits; by token what backward keeps, and eight hidden states."""
    llama = known_shapes()["llama-2-7b"]
    first, *others = (
        ScoringCost(llama, {"it": make_criterion("taylor", {"aggregation": form})}, ["neurons"], "bfloat16")
        for form in ("sum_abs", "vectorize", "param_first")
    )
    fixed = llama.weights("bfloat16") + 5 * llama.logits(on_gpu=False)
    assert first.peak(0) == fixed
    assert first.peak(10) == fixed + 10 * (32 * llama.kept("bfloat16") + 8 * 2 * 4096)
    # Of a weight form, a layer's gradients, eight float32 numbers a weight; sums over both halves, of all layers.
    assert [each.peak(0) - fixed for each in others] == [llama.mlp_weights * 4 * x for x in (8, 8 + 2 * 32)]
    assert others[0].peak(10) - others[0].peak(0) == first.peak(10) - fixed + 10 * 32 * 2 * 4096


@pytest.mark.parametrize("criterion", ["entropy", "sdmprune"])
@pytest.mark.parametrize(
    ("model", "name"),
    [("llama-2-7b", "LLaMA-2-7B"), ("llama-3.2-3b", "LLaMA3.2-3.2B"), ("llama-3.2-1b", "LLaMA3.2-1.2B")],
)
def test_times_of_the_papers_table_5(model: str, name: str, criterion: str) -> None:
    """Scoring by 1,000 sequences on four A6000s, of which one works at a time if a model is spread over them.

    With a small model and a large vocabulary, the softmaxes that are not counted take as long as the products.
    """
    table = pd.read_csv(ROOT / "paper/tables/table5.csv")
    rows = table[(table["model"] == name) & (table["method"] == criterion) & (table["metric"] == "seconds")]
    it = {"it": make_criterion(criterion, {})}
    work = ScoringCost(known_shapes()[model], it, ["neurons"], "bfloat16", known_devices()["a6000"].memory)
    seconds = work.operations(1000 * 1024, 1024) / known_devices()["a6000"].bfloat16 / UTILISATION
    assert 0.55 < seconds / rows["value"].item() < 1.1
