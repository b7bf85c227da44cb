"""The contract, checked on every discovered criterion: nobody lists them."""

import re
from bisect import bisect_right
from copy import deepcopy
from itertools import count, pairwise, product
from math import hypot
from pathlib import Path
from statistics import variance

import pytest
import torch
from conftest import assert_near, build_tiny
from official import cross_entropy_loss, official_scores
from torch.nn.functional import cosine_similarity, kl_div

from hfprune.criteria import CRITERIA, Criterion, GradientCriterion, Positions, make_criterion
from hfprune.errors import HfpruneError
from hfprune.models import head
from hfprune.models.head import draw_tokens
from hfprune.models.units import units_of
from hfprune.scoring.score import score
from hfprune.scoring.weight_forms import WEIGHT_FORMS
from hfprune.seeds import derive_seed

EVERY = sorted(CRITERIA.sources())
ACTIVATION = [name for name in EVERY if CRITERIA.load(name).needs == "activations"]
GRADIENT = [name for name in EVERY if issubclass(CRITERIA.load(name), GradientCriterion)]
CLOSED = [name for name in GRADIENT if CRITERIA.load(name).gradient is not GradientCriterion.gradient]


def scores_by(
    criterion: Criterion, model, tokens, units: tuple[str, ...] = (), **settings
) -> dict[str, torch.Tensor]:
    return score({"it": criterion}, model, tokens, units or criterion.scorable(), **settings)["it"].scores


def neurons_by(criterion: Criterion, model, tokens, **settings) -> list[torch.Tensor]:
    return [*scores_by(criterion, model, tokens, ("neurons",), **settings).values()]


@pytest.mark.parametrize("name", EVERY)
def test_contract(tiny, tokens, name: str, monkeypatch) -> None:
    criterion = make_criterion(name, {}, units=())
    assert isinstance(criterion, Criterion) and criterion.version >= 1
    assert type(criterion).__doc__, "says in one line what it is"
    first, second = (scores_by(make_criterion(name, {}, units=()), tiny, tokens, seed=5) for _ in range(2))
    monkeypatch.setattr(head, "head_chunk", lambda _: 5)
    small = scores_by(criterion, tiny, tokens, seed=5, batch_tokens=1)
    units = units_of(tiny, criterion.scorable())
    assert [*first] == [*units]
    for place, scores in first.items():
        assert scores.shape == (units[place].count,) * (1 if criterion.nested else 2)
        assert scores.dtype == torch.float64
        assert scores.isfinite().all()
        assert len(scores.unique()) > len(scores) // 2, "tells units apart"
        assert torch.equal(scores, second[place]), "same inputs, same bytes"
    assert_near(small.values(), first.values())
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny.parameters())
    assert not any(layer.mlp.down_proj._forward_pre_hooks for layer in tiny.model.layers)


def naive_loss(criterion: GradientCriterion, seed: int = 0):
    """Return the mean objective of one sequence, as a loss for blocks that come one by one from the first."""
    sequences = count()

    def loss(logits, block):
        if criterion.needs_targets:
            return criterion.objective(logits[0, :-1], Positions(targets=block[0, 1:])).mean()
        generator = torch.Generator().manual_seed(derive_seed(seed, "uniform", next(sequences)))
        positions = Positions(uniform=torch.rand(block.shape[1], generator=generator))
        return criterion.objective(logits[0], positions).mean()

    return loss


@pytest.mark.parametrize("name", [name for name in GRADIENT if not CRITERIA.load(name).needs_teacher])
def test_agrees_with_naive_autograd(tiny, tokens, name: str) -> None:
    criterion = make_criterion(name, {"aggregation": "sum_abs"})
    assert_near(neurons_by(criterion, tiny, tokens), official_scores(tiny, tokens, naive_loss(criterion)))


def test_fishers_first_power_is_cross_entropy_on_tokens_drawn_from_the_model(tiny, tokens) -> None:
    """By plain autograd on tokens that are drawn here once more, one by one; every position has one."""
    rows = iter(range(len(tokens)))

    def loss(logits, block):
        generator = torch.Generator().manual_seed(derive_seed(3, "uniform", next(rows)))
        uniform = torch.rand(block.shape[1], generator=generator).tolist()
        shares = logits[0].detach().double().softmax(-1).cumsum(-1).tolist()
        drawn = [bisect_right(of, number * of[-1]) for of, number in zip(shares, uniform, strict=True)]
        return torch.nn.functional.cross_entropy(logits[0], torch.tensor(drawn))

    drawn = make_criterion("fisher", {"aggregation": "sum_abs"})
    assert_near(neurons_by(drawn, tiny, tokens, seed=3), official_scores(tiny, tokens, loss))


def labels_of(number: int, block: int, length: int, p: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the labels of this number by inverse transform sampling, from shares [length, vocabulary]."""
    place = (block, number) if number else (block,)
    generator = torch.Generator().manual_seed(derive_seed(seed, "uniform", *place))
    cumulative = p.double().cumsum(-1).tolist()
    uniform = torch.rand(length, generator=generator).tolist()
    return torch.tensor([bisect_right(of, u * of[-1]) for of, u in zip(cumulative, uniform, strict=True)])


@pytest.mark.parametrize("aggregation", ["sum_abs", "sum_squares"])
def test_several_labels_give_the_mean_of_what_each_gives(tiny, tokens, aggregation: str) -> None:
    """By plain autograd, label by label, each with the hidden activations' own gradient."""

    def by_label(number: int) -> list[torch.Tensor]:
        rows = iter(range(len(tokens)))

        def loss(logits, block):
            p = logits[0].detach().softmax(-1)
            labels = labels_of(number, next(rows), block.shape[1], p, seed=3)
            return torch.nn.functional.cross_entropy(logits[0], labels)

        return (
            official_scores(tiny, tokens, loss) if aggregation == "sum_abs" else squares(tiny, tokens, loss)
        )

    expected = [sum(three) / 3 for three in zip(*map(by_label, range(3)), strict=True)]
    several = make_criterion("fisher", {"aggregation": aggregation, "labels": 3})
    found = neurons_by(several, tiny, tokens, seed=3)
    assert_near(found, expected)
    assert_near(neurons_by(several, tiny, tokens, seed=3, batch_tokens=1), found)
    alone = make_criterion("fisher", {"aggregation": aggregation})
    beside = {"several": several, "alone": alone, "entropy": make_criterion("entropy", {})}
    shared = {name: found.scores for name, found in score(beside, tiny, tokens, seed=3).items()}
    assert_near(shared["several"].values(), found)
    assert_near(shared["alone"].values(), by_label(0))


def squares(model, tokens, loss) -> list[torch.Tensor]:
    """Return Σ (h · ∂C/∂h)² over all tokens [neurons], by layer, from gradients of down_proj's inputs."""
    caught: list[torch.Tensor] = []

    def catch(_module, inputs):
        h = inputs[0].detach().requires_grad_() if not inputs[0].requires_grad else inputs[0]
        h.retain_grad()
        caught.append(h)
        return (h,)

    hooks = [layer.mlp.down_proj.register_forward_pre_hook(catch) for layer in model.model.layers]
    sums = torch.tensor(0.0)
    for block in tokens:
        caught.clear()
        loss(model(block[None]).logits, block[None]).backward()
        sums = sums + torch.stack([(h * h.grad)[0].double().square().sum(0) for h in caught])
    for hook in hooks:
        hook.remove()
    return [*sums.detach()]


def test_several_labels_score_groups_and_layers_as_each_alone(tokens) -> None:
    """Each label alone is a criterion that draws with the numbers of that label."""
    tiny = build_tiny("qwen3")
    units = ("neurons", "key_value_groups", "layers")
    shares = []
    for number in range(3):

        class Alone(CRITERIA.load("fisher")):  # type: ignore[misc]
            def gradient(self, logits, positions, number=number):
                if number:
                    generator = torch.Generator().manual_seed(derive_seed(5, "uniform", 0, number))
                    positions = Positions(uniform=torch.rand(len(logits), generator=generator))
                return super().gradient(logits, positions)

        shares.append(scores_by(Alone(), tiny, tokens[:1], units, seed=5))
    several = scores_by(make_criterion("fisher", {"labels": 3}), tiny, tokens[:1], units, seed=5)
    assert_near(several.values(), [sum(x[place] for x in shares) / 3 for place in several])


def test_many_labels_converge_to_the_expectation() -> None:
    """Over all 5³ joint labels of three positions, each by autograd, with its probability; not to zero."""
    tiny, block = build_tiny("llama", vocab_size=5), torch.tensor([[1, 4, 2]])
    p = tiny(block).logits[0].softmax(-1)
    expected = torch.zeros(3, 48, dtype=torch.float64)
    for labels in product(range(5), repeat=3):
        drawn = torch.tensor(labels)
        mass = p[torch.arange(3), drawn].prod().item()
        theirs = official_scores(
            tiny, block, lambda z, _, y=drawn: torch.nn.functional.cross_entropy(z[0], y)
        )
        expected += mass * torch.stack([x.double() for x in theirs])

    def error(labels: int) -> float:
        criterion = make_criterion("fisher", {"aggregation": "sum_abs", "labels": labels})
        found = torch.stack(neurons_by(criterion, tiny, block))
        return float((found - expected).norm() / expected.norm())

    assert error(1000) < 0.05 < 0.2 < error(1)


def test_options_that_are_left_out_and_refused() -> None:
    assert make_criterion("fisher", {"labels": 1}).model_dump(mode="json").keys() == {
        "aggregation",
        "accumulator",
    }
    assert make_criterion("fisher", {"labels": 4}).model_dump(mode="json")["labels"] == 4
    with pytest.raises(
        HfpruneError, match="labels: param_first takes one; aggregations that take several: sum_abs"
    ):
        make_criterion("fisher", {"labels": 2, "aggregation": "param_first"})


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_gradient_is_that_of_the_formula_by_autograd(name: str) -> None:
    criterion, generator = make_criterion(name, {}), torch.Generator().manual_seed(0)
    logits, teacher = 3 * torch.randn(2, 40, 11, dtype=torch.float64, generator=generator)
    given = {"teacher": teacher, "targets": torch.randint(11, (40,), generator=generator)}
    given["uniform"] = torch.rand(40, generator=generator)
    positions = Positions(**{key: x for key, x in given.items() if getattr(criterion, f"needs_{key}")})
    expected = GradientCriterion.gradient(criterion, logits, positions)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(criterion.gradient(logits.clone(), positions), expected)


def weights_and_gradients(model, tokens, loss) -> list[list[list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Return (w, G) [neurons, hidden] by layer, sequence and projection, G of each sequence by `backward`."""
    mlps = [layer.mlp for layer in model.model.layers]
    found: list = [[] for _ in mlps]
    model.requires_grad_(True)
    for block in tokens:
        model.zero_grad()
        loss(model(block[None]).logits, block[None]).backward()
        for mlp, sequences in zip(mlps, found, strict=True):
            gate, up, down = (x.weight for x in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
            pairs = [(gate, gate.grad), (up, up.grad), (down.T, down.grad.T)]
            sequences.append([(w.detach().double(), g.double()) for w, g in pairs])
    model.zero_grad()
    model.requires_grad_(False)
    return found


def published(form: str, sequences: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> torch.Tensor:
    """Return LLM-Pruner's or SDMPrune's formula as published, up to the number of sequences."""
    if form == "joint":
        return sum((sum(w * g for w, g in three).abs().mean(1) for three in sequences), torch.tensor(0.0))
    formula = {
        "param_first": lambda w, g, a: (w * g).abs().sum(1),
        "param_second": lambda w, g, a: (w * a * w).abs().sum(1),
        "param_mix": lambda w, g, a: (w * g - 0.5 * w * a * w).abs().sum(1),
        "vectorize": lambda w, g, a: (w * g).sum(1).abs(),
    }[form]
    scores = torch.tensor(0.0)
    for projection in range(3):
        gradients = torch.stack([three[projection][1] for three in sequences])
        scores = scores + formula(sequences[0][projection][0], gradients.mean(0), gradients.square().mean(0))
    return len(sequences) * scores


@pytest.mark.parametrize("name", ["taylor", "entropy"])
def test_weight_forms_agree_with_naive_weight_gradients(tiny, tokens, name: str) -> None:
    reference = weights_and_gradients(tiny, tokens, naive_loss(make_criterion(name, {})))
    for form in WEIGHT_FORMS:
        ours = neurons_by(make_criterion(name, {"aggregation": form}), tiny, tokens)
        assert_near(ours, [published(form, sequences) for sequences in reference])


def test_sdmprune_in_two_stages_on_two_models(tiny, tokens) -> None:
    criterion = make_criterion("sdmprune", {"temperature": 3, "alpha": 0.9, "warm_start": 0.1})
    stage_one = weights_and_gradients(tiny, tokens, naive_loss(make_criterion("cross_entropy", {})))
    student = deepcopy(tiny)
    removed = [published("joint", sequences).argsort()[:5] for sequences in stage_one]
    for layer, neurons in zip(student.model.layers, removed, strict=True):
        layer.mlp.down_proj.weight[:, neurons] = 0

    def loss(logits, block):
        teacher = (tiny(block).logits[0, :-1].detach() / criterion.temperature).softmax(-1)
        divergence = kl_div(logits[0, :-1].log_softmax(-1), teacher, reduction="batchmean")
        return (1 - criterion.alpha) * cross_entropy_loss(logits, block) + criterion.alpha * divergence

    reference = [published("joint", x) for x in weights_and_gradients(student, tokens, loss)]
    for theirs, neurons in zip(reference, removed, strict=True):
        theirs[neurons] = 0
    assert_near(neurons_by(criterion, tiny, tokens), reference, relative=1e-3)


def test_activation_criteria_by_their_formulas(tiny, tokens) -> None:
    caught: dict[int, torch.Tensor] = {}
    for index, layer in enumerate(tiny.model.layers):
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs, index=index: caught.update({index: inputs[0].double()})
        )
    tiny(tokens)
    inputs, passes = dict(caught), []
    tiny.model.register_forward_pre_hook(lambda *_: passes.append(()))
    criteria = {name: make_criterion(name, {}) for name in ("wanda", "flap", "minitron")}
    ours = {name: [*found.scores.values()] for name, found in score(criteria, tiny, tokens).items()}
    assert len(passes) == 1, "they share a forward pass"
    for index, h in inputs.items():
        down = tiny.model.layers[index].mlp.down_proj.weight.double()
        expected = {
            "wanda": down.abs().mean(0) * h.norm(dim=(0, 1)),
            "flap": h.flatten(0, 1).var(0, correction=0) * tokens.numel() * down.norm(dim=0) ** 2,
            "minitron": h.abs().mean(1).norm(dim=0),
        }
        for name, theirs in expected.items():
            assert_near([ours[name][index]], [theirs])


def test_activation_criteria_run_neither_head_nor_gradient(tiny, tokens, monkeypatch) -> None:
    monkeypatch.setattr(tiny.lm_head, "forward", None)
    monkeypatch.setattr(torch.Tensor, "backward", None)
    for name in ACTIVATION:
        scores_by(make_criterion(name, {}, units=()), tiny, tokens)


def test_fisher_draws_from_the_models_distribution() -> None:
    logits = torch.tensor([[2.0, -1, 0, -200, 1]])
    uniform = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    labels = draw_tokens(logits.expand(len(uniform), -1), uniform)
    frequencies = labels.bincount(minlength=5) / len(labels)
    torch.testing.assert_close(frequencies, logits[0].softmax(0), rtol=0, atol=0.01)
    edges = draw_tokens(logits.expand(2, -1), torch.tensor([0, 1 - 2**-24]))
    assert edges.tolist() == [0, 4], "never a token of probability zero, never one beyond the last"


@pytest.mark.parametrize("page", ["README.md", "docs/add-a-criterion.md"])
def test_the_documented_example_is_a_criterion(page: str, tiny, tokens) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Peak" in block]
    assert len(code.splitlines()) <= 20
    names: dict = {}
    exec(code, names)
    peak = names["Peak"]()
    reference = official_scores(tiny, tokens, lambda logits, block: logits[0].softmax(-1).amax(-1).mean())
    assert_near(neurons_by(peak, tiny, tokens), reference)


def test_magnitude_and_random(tiny, tokens) -> None:
    mlp = tiny.model.layers[1].mlp
    weights = mlp.gate_proj.weight[7], mlp.up_proj.weight[7], mlp.down_proj.weight[:, 7]
    gate, up, down = (x.tolist() for x in weights)
    expected = {
        "down_norm": sum(w**2 for w in down) ** 0.5,
        "l1": sum(map(abs, gate + up + down)) / 3,
        "l2": sum(w**2 for w in gate + up + down) / 3,
        "range": sum(max(weights) + abs(min(weights)) for weights in (gate, up)),
        "variance": variance(gate) + variance(up),
        "norm_product": sum(map(abs, gate)) * sum(map(abs, up)),
        "norm_sum": hypot(*gate) + hypot(*up),
    }
    for definition, value in expected.items():
        magnitude = neurons_by(make_criterion("magnitude", {"definition": definition}), tiny, tokens)
        assert float(magnitude[1][7]) == pytest.approx(value, rel=1e-5)
    for name in ("random", "fisher"):
        one, other = (neurons_by(make_criterion(name, {}), tiny, tokens, seed=seed) for seed in (0, 1))
        assert not torch.equal(one[0], other[0]), "the seed matters"
        assert not torch.equal(one[0], one[1]), "layers do not share a stream"


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("entopy", {}, "neurons", "unknown criterion 'entopy'; did you mean 'entropy'?"),
        (
            *("entropy", {"agregation": "x"}, "neurons"),
            "entropy: unknown key 'agregation'; did you mean 'aggregation'?",
        ),
        ("wanda", {}, "layers", "criterion 'wanda' cannot score layers, only neurons"),
        ("block_influence", {}, "neurons", "criterion 'block_influence' cannot score neurons, only layers"),
        (
            "taylor",
            {},
            "layers",
            "criterion 'taylor' with aggregation param_first cannot score layers, "
            "only neurons and key_value_groups",
        ),
    ],
)
def test_what_cannot_be_is_refused(tokens, name: str, options: dict, kind: str, message: str) -> None:
    with pytest.raises(HfpruneError) as caught:
        make_criterion(name, options, "m", [kind])
    assert str(caught.value) == f"m: {message}"
    if "cannot score" in message:
        with pytest.raises(HfpruneError, match=message):
            score({name: make_criterion(name, options, units=())}, build_tiny("llama"), tokens, [kind])


def test_a_position_that_was_not_asked_for_is_named() -> None:
    positions = Positions(targets=torch.zeros(1))
    for name in ("teacher", "uniform"):
        with pytest.raises(HfpruneError, match=f"set needs_{name} = True in its class"):
            getattr(positions, name)


@pytest.mark.parametrize("bias", [0.0, 0.1])
def test_entropys_gradient_sums_to_zero_over_a_vocabulary_of_128k(bias: float) -> None:
    """The head's columns share a mean, which multiplies the sum; in float64 there is none to speak of."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(8, 128_256, generator=generator)
    head = 0.05 * torch.randn(128_256, 64, generator=generator) + bias
    criterion = make_criterion("entropy", {})
    exact = GradientCriterion.gradient(criterion, logits.double(), Positions())
    ours = criterion.gradient(logits.clone(), Positions())
    assert float((ours - exact).norm() / exact.norm()) < 2e-6
    # In float64, so that no rounding but the gradient's is seen.
    expected, found = exact @ head.double(), ours.double() @ head.double()
    assert float((found - expected).norm() / expected.norm()) < (2e-5 if bias else 2e-6)
    p, plain = logits.softmax(-1), logits.log_softmax(-1)
    plain = -p * (plain - (p * plain).sum(-1, keepdim=True))
    assert float((plain - exact).norm() / exact.norm()) > 2e-5, "the closed form alone"


@torch.no_grad()
def test_block_influence_is_that_of_the_formula(tiny, tokens) -> None:
    """1 - mean cosine between each layer's input and output over tokens."""
    criterion = make_criterion("block_influence", {}, units=["layers"])
    influence = scores_by(criterion, tiny, tokens, batch_tokens=40)["layers"]
    states: list[torch.Tensor] = []
    for part in [*tiny.model.layers, tiny.model.norm]:
        part.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0].double()))
    tiny(tokens)
    expected = [1 - float(cosine_similarity(x, y, dim=-1).mean()) for x, y in pairwise(states)]
    assert influence.tolist() == pytest.approx(expected, rel=1e-4)
