import weakref
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import assert_near, assert_same_scores, build_tiny
from official import cross_entropy_loss, entropy_loss, official_scores
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from hfprune.criteria import Criterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.fisher import Fisher
from hfprune.criteria.flap import Flap
from hfprune.criteria.random import Random
from hfprune.criteria.sdmprune import SDMPrune
from hfprune.criteria.wanda import Wanda
from hfprune.errors import HfpruneError
from hfprune.scoring.score import score
from hfprune.scoring.score_files import load_scores, save_scores

OFFICIAL = {Entropy: entropy_loss, CrossEntropy: cross_entropy_loss}


def scores_by(criterion: Criterion, model, blocks, **settings) -> list[torch.Tensor]:
    return [*score({"it": criterion}, model, blocks, **settings)["it"].scores.values()]


def exact_entropy_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    log_p = logits.double().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def test_agrees_with_the_official_recipe_on_smollm2(smollm2: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, model.config.vocab_size, (1, 48), generator=generator)
    found = score({kind.__name__: kind() for kind in OFFICIAL}, model, blocks)
    # In float32 the recipe's gradient of entropy leaves a sum over the vocabulary, which the head multiplies:
    # it is 1.4e-4 from float64, ours less than 1e-5.
    for kind, loss, relative in (
        (Entropy, entropy_loss, 3e-4),
        (Entropy, exact_entropy_loss, 3e-5),
        (CrossEntropy, cross_entropy_loss, 1e-4),
    ):
        ours = [*found[kind.__name__].scores.values()]
        assert_near(ours, official_scores(model, blocks, loss), relative)


def blocks_of(count: int) -> torch.Tensor:
    return torch.randint(0, 97, (count, 9), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("architecture", "units"),
    [("llama", ("neurons",)), ("qwen3", ("neurons", "key_value_groups", "layers"))],
)
def test_criteria_that_share_passes_score_as_alone(architecture: str, units) -> None:
    """To the byte, though students start from shared cross-entropies."""
    criteria: dict[str, Criterion] = {
        **{"cross_entropy": CrossEntropy(), "entropy": Entropy(), "fisher": Fisher(), "random": Random()},
        "squares": Entropy(aggregation="sum_squares"),
        "rounded": Entropy(accumulator="bfloat16"),
        **{"distillation": Distillation(), "other_start": Distillation(warm_start=0.2)},
    }
    if units == ("neurons",):
        criteria |= {"sdmprune": SDMPrune(), "joint": CrossEntropy(aggregation="joint"), "flap": Flap(),
                     "mix": CrossEntropy(aggregation="param_mix"), "wanda": Wanda()}  # fmt: skip
    model, settings = build_tiny(architecture), {"seed": 1, "batch_tokens": 36}
    together = score(criteria, model, blocks_of(20), units, **settings)
    for name, criterion in criteria.items():
        found = score({name: criterion}, model, blocks_of(20), units, **settings)
        assert_same_scores(together[name], found[name])


def test_passes_are_shared_as_far_as_students_allow(tokens) -> None:
    """One pass starts all students and scores the plain criteria; students with one mask share another."""
    tiny = build_tiny("llama")
    others = {"entropy": Entropy(), "squares": Entropy(aggregation="sum_squares")}
    others |= {"distillation": Distillation(), "mixed": SDMPrune(aggregation="sum_abs"), "own": SDMPrune()}
    starts = {"cross_entropy": CrossEntropy(), "joint": CrossEntropy(aggregation="joint")}
    forwards: list[int] = []
    backwards: list[int] = []

    def watch(_module, _inputs, output: torch.Tensor) -> None:
        forwards.append(1)
        if output.requires_grad:
            output.register_hook(lambda _gradient: backwards.append(1))

    tiny.model.norm.register_forward_hook(watch)
    # The cross-entropies by which students start share a backward pass whether or not they are scored.
    for criteria in (starts | others, others):
        forwards.clear()
        backwards.clear()
        score(criteria, tiny, tokens, batch_tokens=10**6)
        assert len(forwards) == 1 + 2 + 2, "plain; students and their teacher; another student and its own"
        assert len(backwards) == 2 + 2 + 1, "one for each gradient, however it is aggregated"


def test_aggregations_by_hand(tiny, tokens) -> None:
    """One block: Σ|x|, Σx² and |Σx| of the same products x, taken by plain autograd."""
    down, block, caught = tiny.model.layers[1].mlp.down_proj, tokens[:1], []
    handle = down.register_forward_pre_hook(
        lambda module, inputs: caught.append(inputs[0].detach().requires_grad_()) or (caught[-1],)
    )
    entropy_loss(tiny(block).logits, block).backward()
    handle.remove()
    products = (caught[0].detach() * caught[0].grad)[0].double()
    expected = {
        "sum_abs": products.abs().sum(0),
        "sum_squares": (products**2).sum(0),
        "signed_sequence": products.sum(0).abs(),
    }
    for name, values in expected.items():
        scores = scores_by(Entropy(aggregation=name), tiny, block)[1]
        torch.testing.assert_close(scores, values, rtol=1e-3, atol=1e-4 * float(values.mean()))


def test_distillation_by_hand(tiny, tokens) -> None:
    """KL(dense ‖ student without its lowest neurons by cross-entropy), by autograd on two separate models."""
    warm = scores_by(CrossEntropy(), tiny, tokens)
    lowest = [scores.argsort()[: round(0.1 * len(scores))] for scores in warm]
    student = deepcopy(tiny)
    for layer, masked in zip(student.model.layers, lowest, strict=True):
        layer.mlp.down_proj.weight[:, masked] = 0

    def loss(logits, block):
        teacher = tiny(block).logits.softmax(-1)
        return (teacher * (teacher.log() - logits.log_softmax(-1))).sum(-1).mean()

    reference = official_scores(student, tokens, loss)
    ours = scores_by(Distillation(warm_start=0.1), tiny, tokens)
    for mine, theirs, masked in zip(ours, reference, lowest, strict=True):
        assert (mine[masked] == 0).all()
        theirs[masked] = 0
    assert_near(ours, reference, relative=1e-3)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made._base is None:
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize("criterion", [Entropy, Distillation])
def test_logits_of_a_128k_vocabulary_never_exist_as_a_whole(criterion) -> None:
    """LLaMA-3's vocabulary: no tensor is larger than the head, however long the sequence is."""
    model = build_tiny("llama", vocab_size=128_256)
    largest = {}
    for length in (128, 256):
        with Largest() as watch:
            scores_by(criterion(), model, torch.randint(0, 128_256, (1, length)))
        largest[length] = watch.elements
    assert largest[128] == largest[256] <= 128 * 128_256


def test_two_tensors_per_neuron_wait_for_the_backward_pass(tokens) -> None:
    """Gate and up; autograd alone would keep the activated gate and h as well."""
    tiny = build_tiny("qwen3")
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
        scores_by(Entropy(), tiny, tokens)
    assert len(waiting) == 2 * len(tiny.model.layers)


def test_bfloat16_scores_are_close_to_float32_and_count_every_sequence(tokens) -> None:
    """Float64 sums of bfloat16 passes: many sequences do not stall the sum."""
    tiny = build_tiny("qwen3")
    many = tokens.repeat(50, 1)
    exact = scores_by(Entropy(), tiny, tokens)
    rounded = scores_by(Entropy(), tiny.to(torch.bfloat16), many)
    for a, b in zip(exact, rounded, strict=True):
        assert float(b.sum() / a.sum()) == pytest.approx(50, rel=0.02)


def test_non_finite_scores_name_layer_and_batch(tokens, tmp_path: Path) -> None:
    tiny = build_tiny("llama")
    tiny.model.layers[2].mlp.up_proj.weight[0, 0] = float("nan")
    message = r"Entropy are not finite at mlp\.\d after the batch at sequence 0"
    with pytest.raises(HfpruneError, match=message):
        scores_by(Entropy(), tiny, tokens)
    out = tmp_path / "scores.safetensors"
    for infinite in (torch.inf, -torch.inf):
        with pytest.raises(HfpruneError, match=r"mlp\.1"):
            save_scores(out, {"mlp.0": torch.ones(3), "mlp.1": torch.tensor([1.0, infinite])}, {})
    assert not out.exists()
    with pytest.raises(HfpruneError, match="tokens that the model does not have"):
        scores_by(Entropy(), build_tiny("llama"), tokens + 50)


def test_scores_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    counts = {f"mlp.{i}": 5 for i in range(12)} | {f"attention.{i}": 2 for i in range(12)} | {"layers": 12}
    scores = {place: torch.rand(count, dtype=torch.float64) for place, count in counts.items()}
    save_scores(path, scores, {"seed": 1})
    everything = ("neurons", "key_value_groups", "layers")
    for kinds, places in ((everything, [*scores]), (["layers"], ["layers"]), (["neurons"], [*scores][:12])):
        found = load_scores(path, kinds)
        assert [*found] == places, "first layer to last, not as words are sorted"
        assert all(torch.equal(found[place], scores[place]) for place in places)
    save_scores(path, {place: scores[place] for place in [*scores][:12]}, {})
    with pytest.raises(HfpruneError, match=r"no scores of layers; .*`hfprune score --units neurons layers`"):
        load_scores(path, ["neurons", "layers"])
    path.write_bytes(b"junk")
    with pytest.raises(HfpruneError, match=r"s\.safetensors: not scores; make them with `hfprune score`"):
        load_scores(path)
