"""What was lost against the dense model, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from synthetic import Study, analysed

from hfprune.analysis.comparison import lost
from hfprune.analysis.evidence import Evidence

ITEMS = np.linspace(1.0, 2.0, 8)


def test_changes_are_paired_by_item_and_say_what_they_cover(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2], seeds=[0])
    shifts = 0.1 + 0.05 * np.outer([1, -1], np.random.default_rng(0).normal(size=4)).ravel()  # not skewed
    for method, ratio, items in (("dense", 0.0, ITEMS), ("entropy", 0.2, ITEMS + shifts)):
        study.outcomes(method, ratio, "perplexity", items, metric="nll")
    study.collect()
    (row,) = lost(Evidence(tmp_path)).itertuples(index=False)
    half = t.ppf(0.975, 7) * shifts.std(ddof=1) / np.sqrt(8)
    assert (row.method, row.measure, row.covers, row.n) == ("entropy", "perplexity", "items", 8)
    assert row.dense == pytest.approx(np.exp(ITEMS.mean()))
    assert np.log([row.change, row.low, row.high]) == pytest.approx(
        shifts.mean() + half * np.array([0, -1, 1])
    )
    assert f"× {row.change:.2f}" in (analysed(tmp_path) / "lost.md").read_text()
    assert pd.read_csv(tmp_path / "lost.csv")["change"].item() == pytest.approx(row.change, rel=1e-6)


def test_several_draws_are_covered(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2], seeds=[0, 1, 2])
    study.outcomes("dense", 0.0, "perplexity", ITEMS, metric="nll")
    for seed in study.seeds:
        study.outcomes("entropy", 0.2, "perplexity", ITEMS + 0.1 * seed, metric="nll", seed=seed)
    study.collect()
    (row,) = lost(Evidence(tmp_path)).itertuples(index=False)
    assert (row.covers, np.log(row.change)) == ("draws and items", pytest.approx(0.1))
    # As wide as three draws of that spread.
    assert np.log(row.high) - 0.1 > 0.9 * t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
