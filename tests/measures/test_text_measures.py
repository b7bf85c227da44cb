from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import build_tiny
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from torch.nn.functional import cross_entropy

from hfprune.evaluation import outputs
from hfprune.evaluation.measured_model import DrawnBlocks, Subject
from hfprune.measurement import Outcome
from hfprune.measures.fidelity import Fidelity, distances
from hfprune.measures.output_entropy import OutputEntropy
from hfprune.measures.perplexity import Perplexity
from hfprune.plans.planning import apply_plan, make_plan

TEXT = {"corpus": "text", "sequences": 6, "length": 17, "batch_tokens": 40}


class Given(Subject):
    """A subject whose blocks are given instead of drawn."""

    def blocks(self, text) -> DrawnBlocks:
        return DrawnBlocks(*self.given)


def fidelity(dense, pruned, tokens, top_k: int, documents=range(6)) -> Outcome:
    subject = Given(pruned, dense)
    subject.given = tokens, documents
    return Fidelity(**TEXT, top_k=top_k).run(subject)


def perplexity(model, tokens, documents=range(6)) -> Outcome:
    subject = Given(model)
    subject.given = tokens, documents
    return Perplexity(**TEXT).run(subject)


def test_entropy_of_the_outputs_is_scipys(tokens) -> None:
    model = build_tiny("llama")
    subject = Given(model)
    subject.given = tokens, range(6)
    (value,), items = OutputEntropy(**TEXT).run(subject)
    expected = entropy(model(tokens).logits.double().softmax(-1).numpy(force=True), axis=-1).mean(1)
    np.testing.assert_allclose(items["output_entropy"], expected, rtol=1e-5)
    assert (value.value, value.n) == (pytest.approx(expected.mean(), rel=1e-5), 6)


def test_distances_against_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (4 * torch.randn(20, 50, generator=generator, dtype=torch.float64) for _ in range(2))
    p, q = (x.softmax(-1).numpy() for x in (a, b))
    js, jaccard, kl = distances(a, b, top_k=15).T.numpy()
    np.testing.assert_allclose(js, jensenshannon(p, q, axis=1))
    np.testing.assert_allclose(kl, entropy(p, q, axis=1))
    tops = [[set(np.argsort(row)[-15:]) for row in x] for x in (p, q)]
    np.testing.assert_allclose(jaccard, [len(s & t) / len(s | t) for s, t in zip(*tops, strict=True)])
    here, there = (torch.full((1, 40), -200.0).index_fill(1, torch.arange(n, n + 3), 0.0) for n in (0, 10))
    assert distances(here, here, 3).tolist() == [[0, 1, 0]]
    assert distances(here, there, 3)[0].tolist() == pytest.approx([np.log(2) ** 0.5, 0, 200], rel=1e-5)


def test_fidelity_by_hand(tokens) -> None:
    dense, pruned = build_tiny("llama"), build_tiny("llama")
    apply_plan(pruned, make_plan(pruned, {f"mlp.{layer}": torch.rand(48) for layer in range(3)}, 0.2))
    values, items = fidelity(dense, pruned, tokens, top_k=5)
    p, q = (model(tokens).logits.softmax(-1).double().numpy() for model in (dense, pruned))
    by_block = jensenshannon(p, q, axis=-1).mean(1)
    np.testing.assert_allclose(items["js_distance"], by_block, rtol=1e-4)
    js = values[0]
    assert js.value == pytest.approx(by_block.mean(), rel=1e-4)
    assert js.stderr == pytest.approx(by_block.std(ddof=1) / 6**0.5, rel=1e-3)
    assert [value.metric for value in values] == ["js_distance", "top5_jaccard", "kl_divergence"]


def test_fidelity_needs_one_model_at_a_time(tokens) -> None:
    """The dense model, its resampled plans and the pruned model, from the same weights, as from three models."""
    scores = [{f"mlp.{layer}": torch.rand(48) for layer in range(3)} for _ in range(2)]
    plan, other = (make_plan(build_tiny("llama"), each, 0.2) for each in scores)
    built: list = []

    def build():
        built.append(build_tiny("llama"))
        return built[-1]

    def cut(model, kept=plan):
        apply_plan(model, kept)
        return model

    subject = Given(lambda: cut(build()), build, change=cut, resampled=[other, other])
    subject.given = tokens, range(6)
    measure = Fidelity(**TEXT, top_k=5)
    resampled, same = (variant and measure.run(variant) for variant in subject.variants())
    own = measure.run(subject)
    assert len(built) == 1 and same is None and subject.model is built[0]
    for found, kept in ((own, plan), (resampled, other)):
        expected = fidelity(build_tiny("llama"), cut(build_tiny("llama"), kept), tokens, top_k=5)
        pd.testing.assert_frame_equal(found.items, expected.items, rtol=0 if found is own else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("room", [0, outputs.KEPT])
def test_measures_of_one_text_share_its_passes_to_the_bit(tokens, monkeypatch, room: int, dtype) -> None:
    """Of the dense model, of a resampled plan and of the pruned model; without room each measure reads anew."""
    monkeypatch.setattr(outputs, "KEPT", room)
    scores = [{f"mlp.{layer}": torch.rand(48) for layer in range(3)} for _ in range(2)]
    plan, other = (make_plan(build_tiny("llama"), each, 0.2) for each in scores)
    passes: list[int] = []

    def build():
        model = build_tiny("llama").to(dtype)
        model.model.register_forward_hook(lambda *_: passes.append(1))
        return model

    def cut(model):
        apply_plan(model, plan)
        return model

    def subjects() -> tuple[Given, Given]:
        dense = Given(build)
        pruned = Given(None, build, change=cut, resampled=[other], beside=dense)
        dense.given = pruned.given = tokens, range(6)
        return dense, pruned

    measures = [Fidelity(**TEXT, top_k=5), Perplexity(**TEXT), OutputEntropy(**TEXT)]

    def taken(measures: list, dense: Given, pruned: Given) -> Iterator[tuple]:
        yield from (each.run(dense) for each in measures if each.needs == "model")
        for variant in pruned.variants():
            yield from (each.run(variant) for each in measures)
        yield from (each.run(pruned) for each in measures)

    both = subjects()
    together = [*taken(measures, *both)]
    assert not any(weight.is_inference() for each in both for weight in each.model.parameters())
    shared, batches = len(passes), 3
    alone = [[*taken([each], *subjects())] for each in measures]
    order = [alone[1][0], alone[2][0], *(found[n] for n in (-2, -1) for found in alone)]
    for found, expected in zip(together, order, strict=True):
        assert found.values == expected.values
        pd.testing.assert_frame_equal(found.items, expected.items, check_exact=True)
    texts = 3 if room else 2 + 1 + 3 + 3
    assert shared == texts * batches
    # What was read before there was anything to share.
    with torch.inference_mode():
        model = cut(build())
        parts = [
            (part.long(), model.model(input_ids=part.long(), use_cache=False)[0]) for part in tokens.split(2)
        ]
        losses = [
            cross_entropy(
                model.lm_head(hidden[:, :-1].flatten(0, 1)).float(), part[:, 1:].flatten(), reduction="none"
            )
            for part, hidden in parts
        ]
    means = torch.cat([each.view(-1, 16).double().mean(1) for each in losses]).tolist()
    assert together[-2].items["nll"].tolist() == means


def test_the_dense_head_stays_when_the_model_gets_another(tokens) -> None:
    """As with an adapter on the head, which peft merges by giving the layer other weights."""

    def change(model):
        model.lm_head.weight.data = model.lm_head.weight.data.flip(0)
        return model

    subject = Given(build_tiny, lambda: build_tiny("llama"), change=change)
    subject.given = tokens, range(6)
    own = Fidelity(**TEXT, top_k=5).run(subject)
    assert subject.model is not None
    expected = fidelity(build_tiny("llama"), change(build_tiny("llama")), tokens, top_k=5)
    pd.testing.assert_frame_equal(own.items, expected.items)
    assert (own.items["js_distance"] > 0.1).all()


def test_perplexity_by_hand(tiny, tokens) -> None:
    (value,), items = perplexity(tiny, tokens)
    losses = [cross_entropy(tiny(block[None]).logits[0, :-1], block[1:]) for block in tokens]
    assert items["nll"].tolist() == pytest.approx([float(loss) for loss in losses], rel=1e-5)
    assert value.value == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)
    assert value.n == 6


def test_standard_errors_are_over_documents(tokens) -> None:
    dense, other, documents = build_tiny("llama"), build_tiny("llama-bias"), [7, 7, 7, 3, 3, 5]
    (value,), items = perplexity(dense, tokens, documents)
    assert items["document"].tolist() == documents
    excess = items["nll"] - items["nll"].mean()
    squares = excess[:3].sum() ** 2 + excess[3:5].sum() ** 2 + excess[5] ** 2
    assert value.stderr == pytest.approx(value.value * (squares * 3 / 2) ** 0.5 / 6)
    assert perplexity(dense, tokens, [1] * 6)[0][0].stderr is None, "one document says nothing of others"
    js, alone = (fidelity(dense, other, tokens, 5, of)[0][0] for of in (documents, range(6)))
    assert (js.value, js.n, alone.n) == (alone.value, 3, 6)
    assert js.stderr != alone.stderr
