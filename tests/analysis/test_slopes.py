"""Slopes over the size of the calibration: by hand, for coverage where samples are nested, and as rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, ttest_ind
from synthetic import analysed, study_of_sizes

from hfprune.calibration.sizes import samples_of
from hfprune.effects.slopes import slope
from hfprune.statistics.outcomes import Draw, NotComparableError, Outcomes

ITEMS = pd.Index(range(10), name="item")


def drawn(*means: float, items: np.ndarray | float = 0.0) -> Outcomes:
    """Return outcomes of ten items by draw."""
    return {Draw(k): {"t": pd.Series(mean + np.zeros(10) + items, ITEMS)} for k, mean in enumerate(means)}


SMALL, LARGE = (0.3, 0.1, 0.6), (0.2, 0.25, 0.3)


def test_of_two_sizes_it_is_welchs_test_of_their_samples() -> None:
    found = slope({4: [(1.0, drawn(*SMALL))], 16: [(1.0, drawn(*LARGE))]}, {4: 12, 16: 48})
    theirs = ttest_ind(LARGE, SMALL, equal_var=False)
    ends = np.array([*theirs.confidence_interval()]) / np.log10(4)
    assert found.value == pytest.approx((np.mean(LARGE) - np.mean(SMALL)) / np.log10(4))
    assert (found.low, found.high) == pytest.approx(tuple(ends))
    assert found.p_value() == pytest.approx(theirs.pvalue)
    assert (found.draws, found.resamples, found.n) == (6, 0, 10)


def test_of_several_sizes_it_is_least_squares_through_their_means_and_what_documents_share_is_no_doubt() -> (
    None
):
    """The same documents at every size: how far they are apart adds nothing to the doubt of a slope."""
    sizes, apart = (2, 8, 16, 64), np.linspace(-1, 1, 10)
    means = np.random.default_rng(0).normal(size=(4, 3))
    sides = {size: [(1.0, drawn(*own, items=apart))] for size, own in zip(sizes, means.tolist(), strict=True)}
    found = slope(sides, {size: 3 * size for size in sizes})
    line = linregress(np.log10(sizes), means.mean(1))
    assert found.value == pytest.approx(line.slope)
    assert found.spread is not None and found.spread.items == pytest.approx(0)
    # Of the two smallest, on one side of the mean, 6 of 24 sequences are common; so of the two largest.
    x = np.log10(sizes) - np.log10(sizes).mean()
    parts = x / (x**2).sum() * means.std(1, ddof=1) / np.sqrt(3)
    shared = 2 * (parts[0] * parts[1] * np.sqrt(2 / 8) + parts[2] * parts[3] * np.sqrt(16 / 64))
    assert found.spread.draws == pytest.approx((parts**2).sum() + shared)


def test_a_slope_that_differs_by_document_is_as_sure_as_documents_are_many() -> None:
    steeper = np.random.default_rng(0).normal(size=10)
    sides = {
        4: [(1.0, drawn(0.1, 0.1, 0.1))],
        16: [(1.0, drawn(0.1, 0.1, 0.1, items=steeper))],
    }
    found = slope(sides, {4: 12, 16: 48})
    assert found.stderr == pytest.approx(steeper.std(ddof=1) / np.sqrt(10) / np.log10(4))


def test_a_size_of_too_few_samples_leaves_its_doubt_unknown() -> None:
    found = slope({4: [(1.0, drawn(*SMALL))], 16: [(1.0, drawn(0.2, 0.3))]}, {4: 12, 16: 32})
    assert not found.has_interval and found.value == pytest.approx((0.25 - np.mean(SMALL)) / np.log10(4))


def test_resamples_tell_the_doubt_of_a_slope_and_are_no_part_of_its_value() -> None:
    moves = (0.5, 0.9, 0.1, 0.7)
    sample = drawn(0.3)
    again = {Draw(0, number): {"t": sample[Draw(0)]["t"] + move} for number, move in enumerate(moves, 1)}
    found = slope({4: [(1.0, sample | again)], 16: [(1.0, drawn(*LARGE))]}, {4: 4, 16: 48})
    assert found.value == pytest.approx((np.mean(LARGE) - 0.3) / np.log10(4))
    # A resample of 8 folds spreads by 7 eighths of what a draw does.
    variances = np.var(moves, ddof=1) * 8 / 7 + np.var(LARGE, ddof=1) / 3
    assert found.spread is not None and found.spread.draws == pytest.approx(variances / np.log10(4) ** 2)
    assert (found.draws, found.resamples) == (4, 4)


def test_other_items_at_another_size_are_no_slope() -> None:
    fewer = {draw: {"t": items["t"][:9]} for draw, items in drawn(*LARGE).items()}
    with pytest.raises(NotComparableError, match="different items"):
        slope({4: [(1.0, drawn(*SMALL))], 16: [(1.0, fewer)]}, {4: 12, 16: 48})


@pytest.mark.parametrize("counts", [(4, 4, 4, 4), (32, 8, 4, 3)])
def test_intervals_cover_where_samples_lie_in_larger_ones(counts: tuple[int, ...]) -> None:
    """Outcomes are means over sequences, and so have no slope; samples of all sizes are of the same sequences."""
    rng, sizes, repeats = np.random.default_rng(0), (2, 8, 32, 128), 300
    inside = 0
    for _ in range(repeats):
        noise = rng.normal(size=512)
        sides = {
            size: [(1.0, drawn(*(float(noise[part].mean()) for part in samples_of(size, count))))]
            for size, count in zip(sizes, counts, strict=True)
        }
        read = {size: size * count for size, count in zip(sizes, counts, strict=True)}
        found = slope(sides, read)
        inside += found.low <= 0 <= found.high
    assert inside / repeats > 0.93


def test_rows_are_of_the_method_alone_and_beside_its_reference(tmp_path: Path) -> None:
    entropy = {4: [*SMALL], 16: [*LARGE]}
    more = {4: 0.1, 16: 0.05}
    other = {size: [mean + more[size] for mean in means] for size, means in entropy.items()}
    folder = study_of_sizes(tmp_path, {4: 3, 16: 3}, {"entropy": entropy, "cross_entropy": other})
    tables = analysed(folder, "dose")
    rows = pd.read_csv(folder / "effects.csv", keep_default_na=False, na_values={"value": [""]})
    rows = rows[rows["question"].str.endswith("slope")].set_index(["question", "method", "against"])
    assert {*rows.index} == {
        ("own_slope", "entropy", ""),
        ("own_slope", "cross_entropy", ""),
        ("slope", "cross_entropy", "entropy"),
    }
    per_tenfold = (np.mean(LARGE) - np.mean(SMALL)) / np.log10(4)
    assert rows.loc[("own_slope", "entropy", ""), "value"] == pytest.approx(per_tenfold)
    beside = rows.loc[("slope", "cross_entropy", "entropy")]
    # Samples are paired: what they share is no doubt.
    numbers = pd.to_numeric(beside[["value", "low", "high"]])
    assert numbers.tolist() == pytest.approx([-0.05 / np.log10(4)] * 3)
    assert (beside["family"], beside["covers"]) == ("slope: js_distance", "draws and items")
    text = (tables / "dose.md").read_text()
    assert "| 20 %  | Cross-entropy − Entropy | Δ JS distance | " in text and "−0.08" in text
