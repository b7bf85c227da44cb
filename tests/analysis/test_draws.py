"""The spread over draws and over resamples, and what was lost against the dense model, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f, t
from synthetic import Study, analysed, effects_of, evidence, resample

from hfprune.calibration.folds import FOLDS
from hfprune.effects.variation import over_draws, quotients
from hfprune.results.evidence import Evidence

ITEMS = np.linspace(0.2, 0.5, 10)
BLOCKS = np.linspace(1.0, 2.0, 8)


def drawn(folder: Path, *methods: str, **shifts: list[list[float]]) -> Study:
    """Distances of methods by draw, and those of its resamples, each moved by a constant."""
    draws = [*range(max(map(len, shifts.values())))]
    study = Study(folder, methods=[*methods], ratios=[0.2], draws=draws)
    for method, by_draw in shifts.items():
        for draw, moved in enumerate(by_draw):
            path = study.outcomes(method, 0.2, "fidelity", ITEMS, metric="js_distance", draw=draw)
            resample(path, "js_distance", moved)
    return study


def test_spread_over_draws_beside_that_over_resamples(tmp_path: Path) -> None:
    shifts = 0.01 * np.random.default_rng(0).normal(size=(2, 3, 5))
    methods = ["entropy", "cross_entropy"]
    drawn(tmp_path, *methods, **dict(zip(methods, shifts, strict=True))).collect()
    rows = over_draws(Evidence(tmp_path))
    assert rows[["method", "against", "outcome"]].to_numpy().tolist() == [
        ["entropy", "", "js_distance"],
        ["cross_entropy", "", "js_distance"],
        ["cross_entropy", "entropy", "js_distance"],
    ]
    of_row = quotients(rows)
    for row, moved in zip(rows.itertuples(), (shifts[0], shifts[1], shifts[1] - shifts[0]), strict=True):
        assert (row.draws, row.resamples) == (3, 4)
        assert row.draws_sd == pytest.approx(moved[:, 0].std(ddof=1))
        resampled = np.sqrt(moved[:, 1:].var(axis=1, ddof=1).mean() * FOLDS / (FOLDS - 1))
        assert row.resamples_sd == pytest.approx(resampled)
        quotient = of_row[row.Index]
        assert quotient.value == pytest.approx(row.draws_sd / resampled)
        # Two degrees of freedom over three draws; each draw's resamples have 1 / (1/7 + 1/3).
        ends = np.array([quotient.high, quotient.low])
        freedom = 3 / (1 / 7 + 1 / 3)
        assert f.cdf((quotient.value / ends) ** 2, 2, freedom) == pytest.approx([0.025, 0.975])
        # Both tell what one draw is worth.
        pooled = (2 * row.draws_sd**2 + freedom * resampled**2) / (2 + freedom)
        half = t.ppf(0.975, 2 + freedom) * np.sqrt(pooled / 3)
        own = 0.0 if row.against else ITEMS.mean()
        assert row.value == pytest.approx(own + moved[:, 0].mean())
        assert [row.low, row.high] == pytest.approx([row.value - half, row.value + half])
        assert row.again == pytest.approx(np.sqrt(2 * pooled)) and np.isnan(row.overlap), "no plans are there"
    text = (analysed(tmp_path) / "draws.md").read_text()
    assert "Cross-entropy − Entropy" in text and f"{of_row[2].value:.2f} (" in text
    kept = pd.read_csv(tmp_path / "draws.csv", keep_default_na=False, na_values={"overlap": [""]})
    pd.testing.assert_frame_equal(kept[rows.columns], rows, rtol=1e-6)


def test_one_draw_alone_has_no_spread(tmp_path: Path) -> None:
    drawn(tmp_path, "entropy", entropy=[[0.0]]).collect()
    assert "No method was calibrated twice" in (analysed(tmp_path) / "draws.md").read_text()
    assert (tmp_path / "draws.csv").read_text().startswith("model,calibration,sequences,ratio,method,")


def test_draws_alone_and_no_difference_from_a_reference_that_is_not_there(tmp_path: Path) -> None:
    study = drawn(tmp_path, "entropy", "cross_entropy", cross_entropy=[[0.0], [0.1]])
    study.ratios = [0.2, 0.3]
    settings = study.config()
    settings.methods["entropy"] = settings.methods["entropy"].model_copy(update={"ratios": [0.3]})
    (row,) = over_draws(evidence(settings, tmp_path)).itertuples()
    assert (row.method, row.against) == ("cross_entropy", "")
    assert row.draws_sd == pytest.approx(0.1 / np.sqrt(2))
    assert row.again == pytest.approx(0.1), "one pair of samples, that far apart"
    assert np.isnan([row.low, row.high, row.resamples_sd]).all()


@pytest.mark.parametrize(
    ("shifts", "sd", "freedom"),
    [
        ([[0.0, 0.1, -0.1, 0.3]], 0.2 * np.sqrt(8 / 7), 1 / (1 / 7 + 1 / 2)),
        ([[0.0], [0.2], [0.4]], 0.2, 2),
    ],
    ids=["three resamples of one draw", "three draws"],
)
def test_resamples_or_three_draws_have_an_interval(
    shifts: list[list[float]], sd: float, freedom: float, tmp_path: Path
) -> None:
    drawn(tmp_path, "entropy", entropy=shifts).collect()
    (row,) = over_draws(Evidence(tmp_path)).itertuples()
    half = t.ppf(0.975, freedom) * sd / np.sqrt(len(shifts))
    assert [row.low, row.high] == pytest.approx([row.value - half, row.value + half])


def test_changes_are_paired_by_item_and_say_what_they_cover(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2], draws=[0])
    shifts = 0.1 + 0.05 * np.outer([1, -1], np.random.default_rng(0).normal(size=4)).ravel()  # not skewed
    for method, ratio, items in (("dense", 0.0, BLOCKS), ("entropy", 0.2, BLOCKS + shifts)):
        study.outcomes(method, ratio, "perplexity", items, metric="nll")
    study.collect()
    (row,) = effects_of(Evidence(tmp_path), "dense").itertuples(index=False)
    half = t.ppf(0.975, 7) * shifts.std(ddof=1) / np.sqrt(8)
    assert (row.method, row.measure, row.covers, row.n) == ("entropy", "perplexity", "items", 8)
    assert row.base == pytest.approx(np.exp(BLOCKS.mean()))
    assert np.log([row.value, row.low, row.high]) == pytest.approx(
        shifts.mean() + half * np.array([0, -1, 1])
    )
    assert np.isnan(row.p), "another draw decides nothing here"
    assert f"× {row.value:.2f}" in (analysed(tmp_path) / "lost.md").read_text()
    kept = pd.read_csv(tmp_path / "effects.csv").query("question == 'dense'")["value"]
    assert kept.item() == pytest.approx(row.value, rel=1e-6)
