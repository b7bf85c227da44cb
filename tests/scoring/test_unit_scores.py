"""Scores of key-value groups and of decoder layers, and of models that change their logits after the head."""

import pytest
import torch
from conftest import assert_near, build_tiny
from families import build
from official import cross_entropy_loss, entropy_loss, official_scores

from hfprune.criteria import Criterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.scoring.score import score

KINDS = ("neurons", "key_value_groups", "layers")
LOSSES = {Entropy: entropy_loss, CrossEntropy: cross_entropy_loss}
AGGREGATED = {
    "sum_abs": lambda x: x.abs().sum((0, 1)),
    "sum_squares": lambda x: x.square().sum((0, 1)),
    "signed_sequence": lambda x: x.sum(1).abs().sum(0),
}


def derivatives(model, blocks, loss, factors: torch.Tensor, handles: list) -> torch.Tensor:
    """Return the gradient at factors of the summed per-sequence losses: no sequence sees another."""
    total = sum(
        loss(logits[None], block[None]) for logits, block in zip(model(blocks).logits, blocks, strict=True)
    )
    for handle in handles:
        handle.remove()
    return torch.autograd.grad(total, factors)[0].double()


def changes_by_groups(model, blocks, loss) -> list[torch.Tensor]:
    """Return ∂loss/∂s at s = 1, s a factor on a group at a token [sequences, length, groups], by layer."""
    groups = model.config.num_key_value_heads
    layers = [layer.self_attn.o_proj for layer in model.model.layers]
    run = layers[0].in_features // groups
    factors = torch.ones(len(layers), *blocks.shape, groups, requires_grad=True)
    handles = [
        o.register_forward_pre_hook(lambda _, inputs, s=s: (inputs[0] * s.repeat_interleave(run, -1),))
        for o, s in zip(layers, factors, strict=True)
    ]
    return list(derivatives(model, blocks, loss, factors, handles))


def changes_by_layers(model, blocks, loss) -> torch.Tensor:
    """Return ∂loss/∂s at s = 1 of x_in + s (x_out - x_in), s a factor on a layer at a token, layers last."""
    layers = model.model.layers
    factors = torch.ones(len(layers), *blocks.shape, 1, requires_grad=True)
    handles = [
        layer.register_forward_hook(lambda _, inputs, out, s=s: inputs[0] + s * (out - inputs[0]))
        for layer, s in zip(layers, factors, strict=True)
    ]
    return derivatives(model, blocks, loss, factors, handles).squeeze(-1).permute(1, 2, 0)


def test_units_score_the_first_order_effect_of_losing_them(model, tokens) -> None:
    criteria: dict[str, Criterion] = {
        f"{kind.__name__} {name}": kind(aggregation=name) for kind in LOSSES for name in AGGREGATED
    }
    found = score(criteria, model, tokens, KINDS, batch_tokens=40)
    alone = {kind: score(criteria, model, tokens, [kind], batch_tokens=40) for kind in KINDS}
    for kind, loss in LOSSES.items():
        groups, layers = changes_by_groups(model, tokens, loss), changes_by_layers(model, tokens, loss)
        for name, aggregated in AGGREGATED.items():
            scores = found[f"{kind.__name__} {name}"].scores
            expected = [aggregated(change) for change in (*groups, layers)]
            assert_near([*scores.values()][-4:], expected, relative=1e-3)
            separate = [alone[unit][f"{kind.__name__} {name}"].scores for unit in KINDS]
            assert [*scores] == [place for one in separate for place in one]
            assert all(torch.equal(scores[place], x) for one in separate for place, x in one.items())


def test_distillation_scores_groups_and_layers_of_the_masked_student(tokens) -> None:
    """Neurons go first, and only neurons; scoring other units beside them changes nothing."""
    model, criterion = build_tiny("qwen2"), {"it": Distillation(warm_start=0.1)}
    scores = score(criterion, model, tokens, KINDS)["it"].scores
    neurons = score(criterion, model, tokens)["it"].scores
    assert [len(x) for x in scores.values()] == [48] * 3 + [2] * 3 + [3]
    assert all(torch.equal(scores[place], x) for place, x in neurons.items())
    assert all(int((x == 0).sum()) == 5 for x in neurons.values())
    assert all((scores[place] > 0).all() for place in scores.keys() - neurons.keys())
    (layers,) = score(criterion, model, tokens, ["layers"])["it"].scores.values()
    assert torch.equal(layers, scores["layers"])


@pytest.mark.parametrize("name", ["gemma2", "granite", "cohere"])
@pytest.mark.parametrize("criterion", LOSSES)
def test_heads_that_cap_or_scale_score_as_naive_autograd(name: str, criterion, tokens) -> None:
    model = build(name)
    plain = model.lm_head(model.model(tokens).last_hidden_state)
    assert not torch.allclose(plain, model(tokens).logits, rtol=0.3), "this head does more than multiply"
    # Beside another criterion, which may overwrite its copy of the logits.
    criteria: dict[str, Criterion] = {"it": criterion(), "other": Entropy(aggregation="joint")}
    ours = score(criteria, model, tokens)["it"].scores
    reference = official_scores(model, tokens, LOSSES[criterion])
    assert_near(ours.values(), reference)
