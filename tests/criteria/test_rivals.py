"""Selection of layers by runs and by search, and of neurons by optimal brain surgeon, against brute force."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import combinations, pairwise
from math import acos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ARCHITECTURES, build_tiny
from families import build
from torch import Tensor, nn

from hfprune.criteria import Criterion, make_criterion
from hfprune.criteria.brain_surgeon import BLOCK, BrainSurgeon, removal_errors
from hfprune.criteria.sleb import Sleb
from hfprune.errors import HfpruneError
from hfprune.models.shape import Shape
from hfprune.models.units import Layers, count_parameters
from hfprune.plans.planning import make_plan
from hfprune.scoring import reading
from hfprune.scoring.score import score

DEPTH = 5


def scores_by(criterion: Criterion, model, tokens, **settings) -> dict[str, Tensor]:
    return score({"it": criterion}, model, tokens, criterion.scorable(), **settings)["it"].scores


def deep(architecture: str, **changes: object):
    return build_tiny(architecture, num_hidden_layers=DEPTH, **changes)


def removed(model, scores: Tensor, count: int) -> list[int]:
    """Return the layers that a plan removes at the ratio of so many."""
    ratio = count * Layers("layers", model).parameters / count_parameters(model)
    kept = make_plan(model, {"layers": scores}, ratio)["layers"].tolist()
    return [layer for layer in range(len(scores)) if layer not in kept]


def computed(model, run: Callable[[], object]) -> tuple[int, int]:
    """Return how many layers a function computes, and how many passes go through the head."""
    seen: list[nn.Module] = []
    parts = [*(layer.self_attn for layer in model.model.layers), model.lm_head]
    handles = [part.register_forward_hook(lambda part, *_: seen.append(part)) for part in parts]
    run()
    for handle in handles:
        handle.remove()
    return len(seen) - seen.count(model.lm_head), seen.count(model.lm_head)


def loss_of(model, layers: list[int], tokens: Tensor) -> float:
    """Return the loss of a model that has only these layers, by transformers alone."""
    left = deepcopy(model)
    Layers("layers", left).keep(torch.tensor(layers))
    return float(left(tokens, labels=tokens).loss)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gemma3"])
def test_sleb_removes_at_each_step_the_layer_without_which_the_loss_is_lowest(
    architecture: str, tokens
) -> None:
    # Of Gemma's layers, some see a window: the number of a layer matters.
    model = deep(architecture) if architecture in ARCHITECTURES else build(architecture)
    left, order = [*range(len(model.model.layers))], []
    while len(left) > 1:
        losses = {one: loss_of(model, [x for x in left if x != one], tokens) for one in left}
        order.append(min(left, key=lambda one: losses[one]))
        left.remove(order[-1])
    scores = scores_by(Sleb(), model, tokens, batch_tokens=40)["layers"]
    assert scores.argsort().tolist() == order + left
    assert [removed(model, scores, count) for count in range(1, len(order) + 1)] == [
        sorted(order[:count]) for count in range(1, len(order) + 1)
    ]


def test_steps_of_sleb_depend_on_those_before(tokens) -> None:
    """So that the test above tells a search from one look at every layer."""
    found = []
    for architecture in ARCHITECTURES:
        model = deep(architecture)
        alone = [loss_of(model, [x for x in range(DEPTH) if x != one], tokens) for one in range(DEPTH)]
        order = scores_by(Sleb(), model, tokens)["layers"].argsort().tolist()
        found.append(order != torch.tensor(alone).argsort().tolist())
    assert any(found)


def test_sleb_computes_what_it_says(tokens) -> None:
    model = deep("llama")
    shape = Shape.of_config(model.config.to_dict())
    twice: dict[str, Criterion] = {"it": Sleb(), "again": Sleb()}
    layers, heads = computed(model, lambda: score(twice, model, tokens, ["layers"], batch_tokens=10**6))
    assert (layers, heads) == (34, 14), "15 + 10 + 6 + 3 layers, 5 + 4 + 3 + 2 trials, of one search"
    count, length = tokens.numel(), tokens.shape[1]
    head = 2 * count * shape.hidden * shape.vocabulary
    expected = layers * (shape.forward(count, length) - head) / DEPTH + heads * head
    assert Sleb().operations(shape, count, length) == pytest.approx(expected)


@pytest.mark.parametrize("criterion", [Sleb(), BrainSurgeon()], ids=["sleb", "brain_surgeon"])
@pytest.mark.parametrize("deadly", [1, 3])
def test_a_killed_search_goes_on_to_the_same_scores(
    criterion: Criterion, deadly: int, tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings, saved = deep("qwen2"), {"state": tmp_path, "identity": "a"}, []
    save = reading.save_tensors

    def die(path: Path, *args: Any, **more: Any) -> None:
        saved.append(path)
        save(path, *args, **more)
        if len(saved) == deadly:
            raise KeyboardInterrupt

    monkeypatch.setattr(reading, "save_tensors", die)
    with pytest.raises(KeyboardInterrupt):
        scores_by(criterion, model, tokens, **settings)
    found = scores_by(criterion, model, tokens, **settings)
    assert len(saved) == DEPTH, "no step and no place is found twice"
    expected = scores_by(criterion, model, tokens)
    assert all(torch.equal(found[place], x) for place, x in expected.items())
    others = tokens.flip(1)
    other = scores_by(criterion, model, others, state=tmp_path, identity="b")
    alone = scores_by(criterion, model, others)
    assert all(torch.equal(other[place], x) for place, x in alone.items()), "nothing of another run is taken"


def test_a_model_whose_losses_are_not_finite_is_refused(tokens) -> None:
    model = deep("llama")
    model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(HfpruneError, match="sleb: no loss is finite; try another dtype"):
        scores_by(Sleb(), model, tokens)


def read(model, tokens: Tensor, parts: Sequence[nn.Module]) -> list[Tensor]:
    """Return what parts of a model read, float64 [sequences, length, width]."""
    seen: list[Tensor] = []
    handles = [part.register_forward_pre_hook(lambda _, x: seen.append(x[0].double())) for part in parts]
    model(tokens)
    for handle in handles:
        handle.remove()
    return seen


def angle(x: list[float], y: list[float]) -> float:
    product, *squares = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, y), (x, x), (y, y)))
    return acos(max(-1, min(1, product / (squares[0] * squares[1]) ** 0.5))) / pi


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_the_run_of_layers_with_the_smallest_angle_goes_whatever_its_length(
    architecture: str, tokens
) -> None:
    model, best = deep(architecture), []
    # The best layer is the second, and the best two are the last.
    for layer, strength in zip(model.model.layers, (1, 0.05, 1, 0.2, 0.2), strict=True):
        layer.self_attn.o_proj.weight *= strength
        layer.mlp.down_proj.weight *= strength
    states = [x[:, -1].tolist() for x in read(model, tokens, [*model.model.layers, model.model.norm])]
    scores = scores_by(make_criterion("angular_distance", {}, units=["layers"]), model, tokens)["layers"]
    for length in range(1, DEPTH):
        runs = [[*range(first, first + length)] for first in range(DEPTH + 1 - length)]
        distances = [sum(map(angle, states[run[0]], states[run[-1] + 1])) for run in runs]
        best.append(min(runs, key=lambda run: distances[run[0]]))
        assert removed(model, scores, length) == best[-1]
        assert float(scores[length - 1].min()) == pytest.approx(min(distances), rel=1e-5)
    assert not all({*short} < {*long} for short, long in pairwise(best)), "no ranking of layers would do"


def best_error(weight: Tensor, h: Tensor, away: list[int], ridge: float) -> float:
    """Return the least error of a layer's output without the inputs `away`, by least squares in full."""
    stay, damping = [i for i in range(len(h)) if i not in away], ridge * float(h.square().sum(1).mean())
    lost = float(damping * weight[:, away].square().sum())
    if not stay:
        return float((weight @ h).square().sum()) + lost
    rows = torch.cat([h[stay].T, damping**0.5 * torch.eye(len(stay), dtype=h.dtype)])
    wanted = torch.cat([(weight @ h).T, damping**0.5 * weight[:, stay].T])
    return float((rows @ torch.linalg.lstsq(rows, wanted).solution - wanted).square().sum()) + lost


@torch.no_grad()
def test_brain_surgeon_removes_at_each_step_the_best_neuron_of_eight(tokens) -> None:
    """Each step is the best single removal given those before; its set is mostly the best of all of its size."""
    same, subsets, ridge = 0, 0, 0.01
    for architecture in ARCHITECTURES:
        model = build_tiny(architecture, intermediate_size=8).double()
        inputs = read(model, tokens, [layer.mlp.down_proj for layer in model.model.layers])
        scores = scores_by(BrainSurgeon(ridge=ridge), model, tokens, batch_tokens=40)
        for layer, h, found in zip(model.model.layers, inputs, scores.values(), strict=True):
            weight, order, h = layer.mlp.down_proj.weight, found.argsort().tolist(), h.flatten(0, 1).T
            energy = float((weight @ h).square().sum())
            for count in range(1, 9):
                before, chosen = order[: count - 1], order[count - 1]
                errors = {i: best_error(weight, h, [*before, i], ridge) for i in range(8) if i not in before}
                assert chosen == min(errors, key=lambda i: errors[i])
                assert float(found[chosen]) == pytest.approx(errors[chosen] / energy, rel=1e-9)
                if count in range(2, 8):
                    every = {
                        some: best_error(weight, h, [*some], ridge) for some in combinations(range(8), count)
                    }
                    best = min(every, key=lambda some: every[some])
                    assert every[best] <= errors[chosen] * (1 + 1e-12)
                    same += {*best} == {*order[:count]}
                    subsets += 1
    assert (same, subsets) == (89, 90)


def test_brain_surgeons_updates_are_exact_over_several_blocks() -> None:
    """The error without the columns P is tr(W_P ((H⁻¹)_PP)⁻¹ W_Pᵀ), whatever came before."""
    generator = torch.Generator().manual_seed(0)
    width = 3 * BLOCK // 2
    mixed = torch.randn(width, width, generator=generator, dtype=torch.float64)
    gram = mixed @ torch.diag(torch.logspace(0, -4, width, dtype=torch.float64)) @ mixed.T
    weight = torch.randn(20, width, generator=generator, dtype=torch.float64)
    errors = removal_errors(weight, gram, 1e-3)
    inverse = torch.linalg.inv(gram + 1e-3 * gram.diagonal().mean() * torch.eye(width))

    def exact(away: Tensor) -> float:
        block = torch.linalg.inv(inverse[away][:, away])
        return float(torch.trace(weight[:, away] @ block @ weight[:, away].T))

    order = errors.argsort()
    for count in range(1, width + 1):
        assert float(errors[order[count - 1]]) == pytest.approx(exact(order[:count]), rel=1e-7)
        if count % 10 == 0:
            others = [exact(torch.cat([order[: count - 1], one[None]])) for one in order[count - 1 :]]
            assert others[0] == min(others)
