"""The contract, checked on every discovered criterion: nobody lists them."""

import re
from pathlib import Path

import pytest
import torch
from official import official_scores

from hfprune.criterion import Criterion, GradientCriterion, criteria, make_criterion
from hfprune.errors import HfpruneError
from hfprune.scoring import Positions, Sweep

EVERY = sorted(criteria())
GRADIENT = [name for name in EVERY if issubclass(criteria()[name], GradientCriterion)]


@pytest.mark.parametrize("name", EVERY)
def test_contract(tiny, tokens, name: str) -> None:
    criterion = make_criterion(name, {})
    assert isinstance(criterion, Criterion)
    assert criterion.version >= 1
    assert type(criterion).__doc__, "says in one line what it is"
    first, second = (make_criterion(name, {}).scores(Sweep(tiny, tokens, seed=5)) for _ in range(2))
    assert len(first) == len(tiny.model.layers)
    for scores, again, layer in zip(first, second, tiny.model.layers, strict=True):
        assert scores.shape == (layer.mlp.down_proj.in_features,)
        assert scores.dtype == torch.float64
        assert scores.isfinite().all()
        assert len(scores.unique()) > len(scores) // 2, "tells neurons apart"
        assert torch.equal(scores, again), "same inputs, same bytes"


@pytest.mark.parametrize("name", EVERY)
def test_batch_size_does_not_matter(tiny, tokens, name: str) -> None:
    criterion = make_criterion(name, {})
    one, many = (criterion.scores(Sweep(tiny, tokens, batch_tokens=size)) for size in (1, 10**6))
    for a, b in zip(one, many, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.mean()))


@pytest.mark.parametrize("name", GRADIENT)
def test_gradient_is_that_of_the_objective(name: str) -> None:
    criterion = make_criterion(name, {})
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(11, 29, generator=generator, dtype=torch.float64)
    positions = Positions(
        targets=torch.randint(0, 29, (11,), generator=generator),
        teacher=torch.randn(11, 29, generator=generator, dtype=torch.float64),
    )
    expected = GradientCriterion.gradient(criterion, logits.clone(), positions)
    torch.testing.assert_close(criterion.gradient(logits.clone(), positions), expected)
    assert criterion.objective(logits, positions).shape == (11,)


@pytest.mark.parametrize("name", [n for n in GRADIENT if not criteria()[n].needs_teacher])
def test_agrees_with_naive_autograd(tiny, tokens, name: str) -> None:
    criterion = make_criterion(name, {})

    def loss(logits, block):
        if criterion.needs_targets:
            return criterion.objective(logits[0, :-1], Positions(targets=block[0, 1:])).mean()
        return criterion.objective(logits[0], Positions()).mean()

    for mine, theirs in zip(
        criterion.scores(Sweep(tiny, tokens)), official_scores(tiny, tokens, loss), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.mean().item())


def test_the_readmes_example_is_a_criterion(tiny, tokens) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "Criterion" in block
    ]
    assert len(code.splitlines()) <= 20
    names: dict = {}
    exec(code, names)
    collision = names["Collision"]()
    reference = official_scores(
        tiny, tokens, lambda logits, block: -(logits[0].softmax(-1) ** 2).sum(-1).log().mean()
    )
    for mine, theirs in zip(collision.scores(Sweep(tiny, tokens)), reference, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.mean().item())


def test_magnitude_and_random(tiny, tokens) -> None:
    magnitude = make_criterion("magnitude", {}).scores(Sweep(tiny, tokens))
    weight = tiny.model.layers[1].mlp.down_proj.weight
    assert float(magnitude[1][7]) == pytest.approx(sum(float(w) ** 2 for w in weight[:, 7]) ** 0.5)
    one, other = (make_criterion("random", {}).scores(Sweep(tiny, tokens, seed=s)) for s in (0, 1))
    assert not torch.equal(one[0], other[0]), "the seed matters"
    assert not torch.equal(one[0], one[1]), "layers do not share a stream"


def test_misspelt_criterion_and_option_name_the_nearest() -> None:
    with pytest.raises(HfpruneError, match="unknown criterion 'entopy'; did you mean 'entropy'"):
        make_criterion("entopy", {})
    with pytest.raises(HfpruneError, match="unknown key 'agregation'; did you mean 'aggregation'"):
        make_criterion("entropy", {"agregation": "sum_abs"})
