"""The spread over draws, of seeds and of resamples, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f
from synthetic import Study, analysed, evidence

from hfprune.analysis.draws import spreads
from hfprune.analysis.evidence import Evidence
from hfprune.scoring.folds import FOLDS

ITEMS = np.linspace(0.2, 0.5, 10)


def luck(study: Study, method: str, seed: int, shifts: list[float]) -> None:
    """Write distances of a cell, and those of its resamples, each moved by a constant."""
    path = study.outcomes(method, 0.2, "fidelity", ITEMS + shifts[0], metric="js_distance", seed=seed)
    items = pd.read_parquet(path.with_suffix(".parquet"))
    again = [items.assign(resample=n, js_distance=ITEMS + shift) for n, shift in enumerate(shifts)]
    pd.concat(again if len(shifts) > 1 else [items]).to_parquet(path.with_suffix(".parquet"))


def test_spread_over_seeds_beside_that_over_resamples(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "cross_entropy"], ratios=[0.2], seeds=[0, 1, 2])
    rng = np.random.default_rng(0)
    shifts = 0.01 * rng.normal(size=(2, 3, 5))
    for method, own in zip(study.methods, shifts, strict=True):
        for seed in study.seeds:
            luck(study, method, seed, [*own[seed]])
    study.collect()
    rows = spreads(Evidence(tmp_path))
    assert rows[["method", "against", "effect"]].to_numpy().tolist() == [
        ["entropy", "", "js_distance"],
        ["cross_entropy", "", "js_distance"],
        ["cross_entropy", "entropy", "js_distance"],
    ]
    for row, moved in zip(rows.itertuples(), (shifts[0], shifts[1], shifts[1] - shifts[0]), strict=True):
        assert (row.seeds, row.resamples) == (3, 4)
        assert row.seeds_sd == pytest.approx(moved[:, 0].std(ddof=1))
        resampled = np.sqrt(moved[:, 1:].var(axis=1, ddof=1).mean() * FOLDS / (FOLDS - 1))
        assert row.resamples_sd == pytest.approx(resampled)
        assert row.quotient == pytest.approx(row.seeds_sd / resampled)
        # Two degrees of freedom over three draws; each seed's resamples have 1 / (1/7 + 1/3).
        inside = f.cdf((row.quotient / np.array([row.high, row.low])) ** 2, 2, 3 / (1 / 7 + 1 / 3))
        assert inside == pytest.approx([0.025, 0.975])
    text = (analysed(tmp_path) / "draws.md").read_text()
    assert "Cross-entropy − Entropy" in text and f"{rows['quotient'][2]:.2f} [" in text
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "draws.csv", keep_default_na=False)[rows.columns],
        rows,
        check_exact=False,
        rtol=1e-6,
    )


def test_one_draw_alone_has_no_spread(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    luck(study, "entropy", 0, [0.0])
    study.collect()
    text = (analysed(tmp_path) / "draws.md").read_text()
    assert "No method was calibrated twice" in text
    assert (tmp_path / "draws.csv").read_text().startswith("model,ratio,method,against,effect")


def test_no_difference_from_a_reference_that_is_not_there(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "cross_entropy"], ratios=[0.2, 0.3], seeds=[0, 1])
    for seed in study.seeds:
        luck(study, "cross_entropy", seed, [0.1 * seed])
    study.collect()
    settings = study.config()
    settings.methods["entropy"] = settings.methods["entropy"].model_copy(update={"ratios": [0.3]})
    rows = spreads(evidence(settings, tmp_path))
    assert rows[["method", "against"]].to_numpy().tolist() == [["cross_entropy", ""]]


def test_seeds_without_resamples_have_their_spread_alone(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2], seeds=[0, 1])
    for seed in study.seeds:
        luck(study, "entropy", seed, [0.1 * seed])
    study.collect()
    (row,) = spreads(Evidence(tmp_path)).itertuples()
    assert (
        row.seeds_sd == pytest.approx(0.1 / np.sqrt(2)) and np.isnan([row.resamples_sd, row.quotient]).all()
    )
