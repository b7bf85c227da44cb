import weakref
from pathlib import Path

import pytest
import torch
from conftest import build_tiny
from official import cross_entropy_loss, entropy_loss, official_scores
from torch.utils._python_dispatch import TorchDispatchMode

from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.errors import HfpruneError
from hfprune.models import load_model
from hfprune.scoring import Sweep, load_scores, save_scores

OFFICIAL = {Entropy: entropy_loss, CrossEntropy: cross_entropy_loss}


def assert_same(ours: list[torch.Tensor], reference: list[torch.Tensor], relative: float = 1e-4) -> None:
    for layer, (mine, theirs) in enumerate(zip(ours, reference, strict=True)):
        assert theirs.abs().max() > 0, f"layer {layer}: the reference itself is zero"
        torch.testing.assert_close(mine, theirs, rtol=relative, atol=relative * float(theirs.mean()))


@pytest.mark.parametrize("criterion", OFFICIAL)
def test_agrees_with_the_official_recipe_on_tiny_models(tiny, tokens, criterion) -> None:
    ours = criterion().scores(Sweep(tiny, tokens))
    assert_same(ours, official_scores(tiny, tokens, OFFICIAL[criterion]))


def test_agrees_with_the_official_recipe_on_smollm2(smollm2: Path) -> None:
    model = load_model(smollm2, "float32")
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, model.config.vocab_size, (2, 48), generator=generator)
    ours = Sweep(model, blocks).gradient_scores([Entropy(), CrossEntropy()])
    assert_same(ours[0], official_scores(model, blocks, entropy_loss))
    assert_same(ours[1], official_scores(model, blocks, cross_entropy_loss))


@pytest.mark.parametrize("criterion", [Entropy, CrossEntropy, Distillation])
def test_scores_depend_on_neither_batch_nor_chunk_size(tiny, tokens, criterion) -> None:
    one = criterion().scores(Sweep(tiny, tokens, batch_tokens=1, chunk=5))
    all_at_once = criterion().scores(Sweep(tiny, tokens, batch_tokens=10**6, chunk=10**6))
    assert_same(one, all_at_once)


def test_criteria_sharing_a_sweep_score_as_alone(tiny, tokens) -> None:
    criteria = [
        CrossEntropy(),
        Entropy(aggregation="joint"),
        Entropy(),
        CrossEntropy(aggregation="param_mix"),
        Entropy(aggregation="sum_squares"),
    ]
    together = Sweep(tiny, tokens).gradient_scores(criteria)
    for criterion, scores in zip(criteria, together, strict=True):
        assert_same(scores, criterion.scores(Sweep(tiny, tokens)), relative=1e-6)


def test_aggregations_by_hand(tiny, tokens) -> None:
    """One block: Σ|x|, Σx² and |Σx| of the same products x, taken by plain autograd."""
    down = tiny.model.layers[1].mlp.down_proj
    caught = []
    handle = down.register_forward_pre_hook(
        lambda module, inputs: caught.append(inputs[0].detach().requires_grad_()) or (caught[-1],)
    )
    block = tokens[:1]
    entropy_loss(tiny(block).logits, block).backward()
    handle.remove()
    products = (caught[0].detach() * caught[0].grad)[0].double()
    expected = {
        "sum_abs": products.abs().sum(0),
        "sum_squares": (products**2).sum(0),
        "signed_sequence": products.sum(0).abs(),
    }
    for name, values in expected.items():
        scores = Entropy(aggregation=name).scores(Sweep(tiny, block))[1]
        torch.testing.assert_close(scores, values, rtol=1e-3, atol=1e-4 * float(values.mean()))


def test_distillation_by_hand(tiny, tokens) -> None:
    """KL(dense ‖ student without its lowest neurons by cross-entropy), by autograd on two separate models."""
    from copy import deepcopy

    warm = CrossEntropy().scores(Sweep(tiny, tokens))
    student = deepcopy(tiny)
    for mlp, scores in zip((layer.mlp for layer in student.model.layers), warm, strict=True):
        mlp.down_proj.weight[:, scores.argsort()[: round(0.1 * len(scores))]] = 0

    def loss(logits, block):
        teacher = tiny(block).logits.softmax(-1)
        return (teacher * (teacher.log() - logits.log_softmax(-1))).sum(-1).mean()

    reference = official_scores(student, tokens, loss)
    ours = Distillation(warm_start=0.1).scores(Sweep(tiny, tokens))
    for mine, theirs, scores in zip(ours, reference, warm, strict=True):
        masked = scores.argsort()[: round(0.1 * len(scores))]
        assert (mine[masked] == 0).all()
        theirs[masked] = 0
    assert_same(ours, reference, relative=1e-3)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made._base is None:
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize("criterion", [Entropy, CrossEntropy, Distillation])
def test_logits_of_a_128k_vocabulary_never_exist_as_a_whole(criterion) -> None:
    """LLaMA-3's vocabulary: no tensor is larger than the head, however long the sequence is."""
    model = build_tiny("llama", vocab_size=128_256)
    largest = {}
    for length in (128, 512):
        with Largest() as watch:
            criterion().scores(Sweep(model, torch.randint(0, 128_256, (1, length))))
        largest[length] = watch.elements
    assert largest[128] == largest[512] <= 128 * 128_256


def test_two_tensors_per_neuron_wait_for_the_backward_pass(tiny, tokens) -> None:
    """Gate and up; autograd alone would keep the activated gate and h as well."""
    saved: list[weakref.ref[torch.Tensor]] = []
    waiting: set[int] = set()
    shape = (*tokens.shape, tiny.model.layers[0].mlp.down_proj.in_features)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == shape:
            saved.append(weakref.ref(tensor))
        return tensor

    tiny.lm_head.register_forward_pre_hook(
        lambda *_: waiting.update(x.data_ptr() for ref in saved if (x := ref()) is not None)
    )
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        Entropy().scores(Sweep(tiny, tokens))
    assert len(waiting) == 2 * len(tiny.model.layers)


def test_a_batch_that_did_not_fit_leaves_nothing_behind(tiny, tokens) -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    mlp = tiny.model.layers[-1].mlp
    hooks = [
        mlp.gate_proj.register_forward_hook(lambda _module, _inputs, out: made.append(weakref.ref(out))),
        # Between the two maps whose outputs wait for h.
        mlp.up_proj.register_forward_pre_hook(fail),
    ]
    with pytest.raises(torch.OutOfMemoryError):
        Entropy().scores(Sweep(tiny, tokens))
    for hook in hooks:
        hook.remove()
    assert made and made[0]() is None


def test_bfloat16_scores_are_close_to_float32_and_count_every_sequence(tiny, tokens) -> None:
    """Float64 sums of bfloat16 passes: many sequences do not stall the sum."""
    many = tokens.repeat(50, 1)
    exact = Entropy().scores(Sweep(tiny, tokens))
    rounded = Entropy().scores(Sweep(tiny.to(torch.bfloat16), many))
    for a, b in zip(exact, rounded, strict=True):
        assert float(b.sum() / a.sum()) == pytest.approx(50, rel=0.02)


def test_no_weight_gets_a_gradient_and_no_hook_stays(tiny, tokens) -> None:
    Entropy().scores(Sweep(tiny, tokens))
    assert all(p.grad is None and not p.requires_grad for p in tiny.parameters())
    assert not any(layer.mlp.down_proj._forward_pre_hooks for layer in tiny.model.layers)


def test_non_finite_scores_name_layer_and_batch(tiny, tokens, tmp_path: Path) -> None:
    tiny.model.layers[2].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(
        HfpruneError, match=r"Entropy are not finite in layer \d after the batch at sequence 0"
    ):
        Entropy().scores(Sweep(tiny, tokens))
    out = tmp_path / "scores.safetensors"
    with pytest.raises(HfpruneError, match=r"mlp\.1"):
        save_scores(out, [torch.ones(3), torch.tensor([1.0, float("inf")])], {})
    assert not out.exists()


def test_blocks_of_another_model_are_refused(tiny, tokens) -> None:
    with pytest.raises(HfpruneError, match="of another model"):
        Entropy().scores(Sweep(tiny, tokens + 50))


def test_scores_survive_the_file(tmp_path: Path) -> None:
    scores = [torch.rand(5, dtype=torch.float64) for _ in range(12)]
    save_scores(tmp_path / "s.safetensors", scores, {"seed": 1})
    assert all(
        torch.equal(a, b) for a, b in zip(scores, load_scores(tmp_path / "s.safetensors"), strict=True)
    )


def test_something_else_than_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.safetensors").write_bytes(b"junk")
    with pytest.raises(HfpruneError, match=r"s\.safetensors: not scores"):
        load_scores(tmp_path / "s.safetensors")
