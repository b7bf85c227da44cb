"""Losses relative to entropy's, and rank correlations, on outcomes for which they are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from hfprune.effects.added import correlations
from hfprune.effects.added.correlations import correlation
from hfprune.effects.added.losses import loss_ratio
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw, contrast


def _outcomes(losses: np.ndarray) -> dict[Draw | None, dict[str, pd.Series]]:
    """Return outcomes of draws × documents; of a single row, those of a model that no draw changes."""
    index = pd.Index(range(losses.shape[1]), name="item")
    draws = [Draw(draw) for draw in range(len(losses))] if len(losses) > 1 else [None]
    return {draw: {"it": pd.Series(row, index)} for draw, row in zip(draws, losses, strict=True)}


def test_loss_relative_to_the_papers_plan_and_its_interval() -> None:
    noise = np.random.default_rng(0)
    dense = noise.normal(3, 0.5, (1, 60))
    lost = noise.normal(1, 0.1, (3, 60))
    paper, third = dense + lost, dense + lost / 3 + noise.normal(0, 0.05, (3, 60))
    value, low, high = loss_ratio(*map(_outcomes, (paper, dense, third)))
    assert value == pytest.approx((third - dense).mean() / lost.mean())
    assert low < 1 / 3 < high < low + 0.1
    # Fieller's ends: there the interval of (third - dense) - ρ·(paper - dense) begins or ends at 0.
    for end in (low, high):
        it = estimate(
            contrast([(1, _outcomes(third)), (end - 1, _outcomes(dense)), (-end, _outcomes(paper))])
        )
        assert min(abs(it.low), abs(it.high)) == pytest.approx(0, abs=1e-4)
    nothing_lost = loss_ratio(*map(_outcomes, (dense + noise.normal(0, 0.1, (3, 60)), dense, third)))
    assert np.isnan(nothing_lost[1:]).all()


def test_ranks_of_outcomes_are_spearmans_and_fewer_documents_make_them_wider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(correlations, "RESAMPLES", 2000)
    noise = np.random.default_rng(2)

    def outcomes(documents: int) -> list[dict[str, np.ndarray]]:
        return [{task: noise.normal(at / 4, 1, (2, documents)) for task in ("a", "b")} for at in range(12)]

    cheap, accuracy = outcomes(200), outcomes(200)
    value, low, high = correlation(cheap, accuracy)
    means = [[np.mean([x.mean() for x in cell.values()]) for cell in side] for side in (cheap, accuracy)]
    assert value == pytest.approx(spearmanr(*means).statistic) and low <= value <= high
    few = correlation(outcomes(4), outcomes(4))
    assert few[2] - few[1] > 2 * (high - low)
    # Without any relation, the interval holds 0.
    shuffled = correlation(cheap, [accuracy[at] for at in noise.permutation(12)])
    assert shuffled[1] < 0 < shuffled[2]
