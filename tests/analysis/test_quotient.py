"""One effect divided by another on the same items, on outcomes for which the quotient is known."""

import numpy as np
import pandas as pd
import pytest

from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw, contrast
from hfprune.statistics.quotient import paired_quotient


def _outcomes(losses: np.ndarray) -> dict[Draw | None, dict[str, pd.Series]]:
    """Return outcomes of draws × documents; of a single row, those of a model that no draw changes."""
    index = pd.Index(range(losses.shape[1]), name="item")
    draws = [Draw(draw) for draw in range(len(losses))] if len(losses) > 1 else [None]
    return {draw: {"it": pd.Series(row, index)} for draw, row in zip(draws, losses, strict=True)}


def added(paper: np.ndarray, dense: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return what another plan adds to the dense model's outcome over what the paper's plan adds."""
    sides = [(_outcomes(side), _outcomes(dense)) for side in (other, paper)]
    return paired_quotient(*([(1.0, plan), (-1.0, whole)] for plan, whole in sides))


def test_a_quotient_of_effects_and_its_interval() -> None:
    noise = np.random.default_rng(0)
    dense = noise.normal(3, 0.5, (1, 60))
    lost = noise.normal(1, 0.1, (3, 60))
    paper, third = dense + lost, dense + lost / 3 + noise.normal(0, 0.05, (3, 60))
    value, low, high = added(paper, dense, third)
    assert value == pytest.approx((third - dense).mean() / lost.mean())
    assert low < 1 / 3 < high < low + 0.1
    # Fieller's ends: there the interval of (third - dense) - ρ·(paper - dense) begins or ends at 0.
    for end in (low, high):
        it = estimate(
            contrast([(1, _outcomes(third)), (end - 1, _outcomes(dense)), (-end, _outcomes(paper))])
        )
        assert min(abs(it.low), abs(it.high)) == pytest.approx(0, abs=1e-4)
    nothing_lost = added(dense + noise.normal(0, 0.1, (3, 60)), dense, third)
    assert np.isnan(nothing_lost[1:]).all()
