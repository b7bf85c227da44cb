"""What scoring asks of a device: memory that it frees, and how often it waits for numbers."""

import gc
import weakref
from collections import Counter
from math import inf

import pytest
import torch
from conftest import build_tiny
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hfprune.calibration.sizes import most_open
from hfprune.criteria import CRITERIA, Criterion, make_criterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.flap import Flap
from hfprune.criteria.sdmprune import SDMPrune
from hfprune.criteria.taylor import Taylor
from hfprune.scoring.passes import sums_bytes
from hfprune.scoring.samples import Scorer
from hfprune.scoring.score import score, score_samples

KINDS = ("neurons", "key_value_groups", "layers")
BATCHED = [name for name in sorted(CRITERIA.sources()) if CRITERIA.load(name).needs != "weights"]
# Operations that move a number to the host, or a list from it; either waits for a GPU.
WAITS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "lift_fresh"}


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (12, 9), generator=torch.Generator().manual_seed(3))


class Watch(TorchDispatchMode):
    """Counts operations, remembers the tensors that they make, and runs out of memory after `most` of them."""

    def __init__(self, most: float = inf) -> None:
        super().__init__()
        self.most, self.calls = most, Counter[str]()
        self.made: list[weakref.ref[torch.Tensor]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if self.calls.total() >= self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
        self.calls[function.overloadpacket.__name__] += 1
        found = function(*args, **(kwargs or {}))
        self.made += [weakref.ref(x) for x in tree_leaves(found) if isinstance(x, torch.Tensor)]
        return found


def runs_out(watch: Watch, criteria: dict[str, Criterion], model, blocks, units) -> bool:
    """Tell whether scoring ran out of memory; the exception, whose traceback holds tensors, is gone afterwards."""
    try:
        with watch:
            score(criteria, model, blocks, units, batch_tokens=36)
    except torch.OutOfMemoryError:
        return True
    return False


@pytest.mark.parametrize(
    ("criteria", "units"),
    [
        ({"flap": Flap()}, ("neurons",)),
        ({"entropy": Entropy(), "student": Distillation()}, KINDS),
        ({"taylor": Taylor(), "sdmprune": SDMPrune()}, ("neurons",)),
    ],
    ids=["activations", "gradients", "weight forms"],
)
def test_what_ran_out_of_memory_is_freed_at_once(criteria: dict[str, Criterion], units, blocks) -> None:
    """Without a garbage collection, wherever it was: a GPU's memory does not wait for one."""
    model, whole = build_tiny("llama"), Watch()
    assert not runs_out(whole, criteria, model, blocks, units)
    gc.collect()
    gc.disable()
    try:
        for share in (0.1, 0.5, 0.9, 0.99):
            watch = Watch(most=round(share * whole.calls.total()))
            assert runs_out(watch, criteria, model, blocks, units)
            alive = [x for ref in watch.made if (x := ref()) is not None]
            assert not alive, f"{len(alive)} of {len(watch.made)} tensors outlive the try, after {share:.0%}"
    finally:
        gc.enable()


def waits(name: str, layers: int) -> tuple[int, int]:
    """Return how often two more sequences, and batches, let scoring wait, and in how many forward passes."""
    criterion, found = make_criterion(name, {}, units=()), []
    for sequences in (9, 11):  # between the marks 8 and 12
        model, watch, passes = build_tiny("llama", num_hidden_layers=layers), Watch(), []
        model.model.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        blocks = torch.randint(0, 97, (sequences, 9), generator=torch.Generator().manual_seed(3))
        with watch:
            score({"it": criterion}, model, blocks, criterion.scorable(), batch_tokens=9)
        found.append((sum(watch.calls[name] for name in WAITS), len(passes)))
    (few, fewer), (many, more) = found
    return many - few, more - fewer


@pytest.mark.parametrize("name", BATCHED)
def test_no_layer_waits_for_the_device(name: str) -> None:
    """A forward pass of a batch waits twice at most, however many layers the model has."""
    (shallow, passes), (deep, others) = (waits(name, layers) for layers in (2, 4))
    assert 2 <= passes <= others and shallow <= 2 * passes
    assert deep * passes == shallow * others


@pytest.mark.parametrize("criterion", [Taylor(), CrossEntropy(aggregation="param_mix")])
def test_large_sums_are_made_layer_by_layer_where_there_is_less_room(criterion, blocks) -> None:
    model = build_tiny("qwen2")
    whole = score({"it": criterion}, model, blocks, batch_tokens=36)["it"]
    for layers in (1, 2):
        room = sums_bytes(criterion, layers * 3 * 48 * 32)
        parts = score({"it": criterion}, model, blocks, batch_tokens=36, sums_room=room)["it"]
        assert [*parts.scores] == [*whole.scores]
        assert all(torch.equal(parts.scores[key], x) for key, x in whole.scores.items())
        for ours, theirs in zip(parts.curve, whole.curve, strict=True):
            assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("samples", "open_"),
    [([range(5)], 1), ([range(4), range(4, 8), range(8), range(9)], 3), ([range(4), range(4, 8)], 1)],
)
def test_bytes_of_sums_are_those_of_the_statistics(samples, open_: int, blocks, monkeypatch) -> None:
    """A sample that is complete has none left, so that one that follows on it takes no more."""
    model, weights, found, add = build_tiny("llama"), 3 * 3 * 48 * 32, [], Scorer.add

    def measured(scorer: Scorer, *shares) -> None:
        add(scorer, *shares)
        folds = [x.nbytes for sample in scorer.samples for fold in sample.folds for x in fold.values()]
        found.append((sum(folds), max(folds, default=0)))

    monkeypatch.setattr(Scorer, "add", measured)
    assert most_open(samples) == open_
    for aggregation in ("sum_abs", "param_first", "param_second", "param_mix", "vectorize", "joint"):
        criterion = CrossEntropy(aggregation=aggregation)
        score_samples({"it": criterion}, model, blocks, ["neurons"], {"it": samples}, batch_tokens=9)
        together, largest = map(max, zip(*found, strict=True))
        ours = open_ * sums_bytes(criterion, weights)
        assert together == ours or not ours
        assert ours or largest <= 3 * 48 * 8, "vectors of neurons"
        assert found[-1] == (0, 0)
        found.clear()
