"""What `findings/effects.py` makes of the studies' items, on outcomes whose effects are known."""

import effects
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from hfprune.analysis.outcomes import Draw, contrast
from hfprune.analysis.statistics import estimate


def _outcomes(losses: np.ndarray) -> dict[Draw | None, dict[str, pd.Series]]:
    """Return outcomes of draws × documents; of a single row, those of a model that no draw changes."""
    index = pd.Index(range(losses.shape[1]), name="item")
    seeds = [Draw(seed) for seed in range(len(losses))] if len(losses) > 1 else [None]
    return {seed: {"it": pd.Series(row, index)} for seed, row in zip(seeds, losses, strict=True)}


def test_loss_relative_to_the_papers_plan_and_its_interval() -> None:
    noise = np.random.default_rng(0)
    dense = noise.normal(3, 0.5, (1, 60))
    lost = noise.normal(1, 0.1, (3, 60))
    paper, third = dense + lost, dense + lost / 3 + noise.normal(0, 0.05, (3, 60))
    value, low, high = effects.loss_ratio(*map(_outcomes, (paper, dense, third)))
    assert value == pytest.approx((third - dense).mean() / lost.mean())
    assert low < 1 / 3 < high < low + 0.1
    # Fieller's ends: there the interval of (third - dense) - ρ·(paper - dense) begins or ends at 0.
    for end in (low, high):
        it = estimate(
            contrast([(1, _outcomes(third)), (end - 1, _outcomes(dense)), (-end, _outcomes(paper))])
        )
        assert min(abs(it.low), abs(it.high)) == pytest.approx(0, abs=1e-4)
    nothing_lost = effects.loss_ratio(*map(_outcomes, (dense + noise.normal(0, 0.1, (3, 60)), dense, third)))
    assert np.isnan(nothing_lost[1:]).all()


def test_questions_about_recovery() -> None:
    asked = {row[:3]: row[3] for row in effects.questions(["entropy", "wanda"], ["none", "lora"])}
    value = {
        ("entropy", "none"): 1.0,
        ("wanda", "none"): 3.0,
        ("entropy", "lora"): 10.0,
        ("wanda", "lora"): 15.0,
        ("dense", "lora"): 100.0,
        ("dense", "none"): 90.0,
    }
    found = {
        key: sum(weight * value[method, recovery] for weight, method, recovery in terms)
        for key, terms in asked.items()
    }
    assert found == {
        ("against_entropy", "wanda", "none"): 2,
        ("against_entropy", "wanda", "lora"): 5,
        ("gain", "entropy", "lora"): 9,
        ("gain", "wanda", "lora"): 12,
        ("against_dense", "entropy", "none"): -89,
        ("against_dense", "wanda", "none"): -87,
        ("against_dense", "entropy", "lora"): -90,
        ("against_dense", "wanda", "lora"): -85,
    }


def test_ranks_of_outcomes_are_spearmans_and_fewer_documents_make_them_wider() -> None:
    noise = np.random.default_rng(2)

    def outcomes(documents: int) -> list[dict[str, np.ndarray]]:
        return [{task: noise.normal(at / 4, 1, (2, documents)) for task in ("a", "b")} for at in range(12)]

    cheap, accuracy = outcomes(200), outcomes(200)
    value, low, high = effects.correlation(cheap, accuracy)
    means = [[np.mean([x.mean() for x in cell.values()]) for cell in side] for side in (cheap, accuracy)]
    assert value == pytest.approx(spearmanr(*means).statistic) and low <= value <= high
    few = effects.correlation(outcomes(4), outcomes(4))
    assert few[2] - few[1] > 2 * (high - low)
    # Without any relation, the interval holds 0.
    shuffled = effects.correlation(cheap, [accuracy[at] for at in noise.permutation(12)])
    assert shuffled[1] < 0 < shuffled[2]
