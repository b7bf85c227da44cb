"""Losses relative to entropy's, on outcomes for which they are known."""

import numpy as np
import pandas as pd
import pytest

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
