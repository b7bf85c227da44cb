"""Paired bootstrap, McNemar's test and ratios: by hand, against other implementations, and for coverage."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, bootstrap, norm, t

from hfprune.analysis.statistics import (
    NotComparableError,
    by_seed,
    contrast,
    mcnemar,
    paired_bootstrap,
    ratio,
)


def outcomes(*seeds: Mapping[str, list[float]]) -> dict[int, dict[str, pd.Series]]:
    return {
        seed: {task: pd.Series(values) for task, values in tasks.items()} for seed, tasks in enumerate(seeds)
    }


def test_contrast_is_the_difference_item_by_item() -> None:
    left = outcomes({"a": [1, 0, 1], "b": [0.5, 1]}, {"a": [1, 1, 1], "b": [0.25, 0]})
    right = outcomes({"a": [0, 0, 1], "b": [0.5, 0]}, {"a": [1, 0, 1], "b": [0, 0]})
    found = contrast([(1, left), (-1, right)])
    assert found["a"].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert found["b"].tolist() == [[0, 1], [0.25, 0]]


def test_four_terms_are_a_difference_of_differences() -> None:
    sides = [outcomes({"a": values}) for values in ([1, 1], [1, 0], [0, 1], [1, 0])]
    found = contrast([*zip((1, -1, -1, 1), sides, strict=True)])
    assert found["a"].tolist() == [[1 - 1 - 0 + 1, 1 - 0 - 1 + 0]]


def test_a_side_with_one_seed_belongs_to_every_seed() -> None:
    assert by_seed([{0: "a", 1: "b", 2: "c"}, {7: "dense"}, {1: "x", 2: "y", 3: "z"}]) == {
        1: ["b", "dense", "x"],
        2: ["c", "dense", "y"],
    }
    assert by_seed([{3: "a"}, {4: "b"}]) == {3: ["a", "b"]}
    with pytest.raises(NotComparableError, match="no seed in common"):
        by_seed([{0: 1, 1: 1}, {2: 1, 3: 1}])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (outcomes({"a": [1.0, 0.0, 1.0]}), "different items of a"),
        (outcomes({"a": [1.0, 0.0], "b": [1.0]}), "different tasks"),
        ({0: {"a": pd.Series([1.0, 0.0], index=[0, 2])}}, "different items of a"),
    ],
)
def test_what_was_measured_on_other_items_is_not_compared(other, message: str) -> None:
    with pytest.raises(NotComparableError, match=message):
        contrast([(1, outcomes({"a": [1.0, 1.0]})), (-1, other)])


def test_every_task_counts_the_same_whatever_its_size() -> None:
    estimate = paired_bootstrap({"a": np.array([[1.0, 0, 0, 0]]), "b": np.array([[1.0, 1]])}, seed=0)
    assert (estimate.value, estimate.n, estimate.seeds) == (0.625, 6, 1)


def test_interval_of_one_task_is_binomial() -> None:
    """Drawing 40 items of which 12 are 1 gives a binomial number of ones."""
    estimate = paired_bootstrap({"a": np.array([[1.0] * 12 + [0.0] * 28])}, seed=0)
    assert estimate.value == pytest.approx(0.3)
    low = norm.cdf(t.ppf(0.025, 39) * np.sqrt(40 / 39))  # moved outwards, as Student's t is wider
    assert 0.019 < low < 0.022
    assert (estimate.low, estimate.high) == tuple(binom.ppf([low, 1 - low], 40, 0.3) / 40)


def test_equal_sides_differ_by_exactly_nothing() -> None:
    estimate = paired_bootstrap({"a": np.zeros((2, 50))}, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_one_item_has_no_interval() -> None:
    estimate = paired_bootstrap({"a": np.array([[1.0]])}, seed=0)
    assert estimate.value == 1 and np.isnan([estimate.low, estimate.high]).all()


def test_copies_within_a_document_add_nothing() -> None:
    data = np.random.default_rng(6).normal(size=(2, 20))
    alone = paired_bootstrap({"a": data}, seed=0)
    copies = paired_bootstrap({"a": np.repeat(data, 3, axis=1)}, 0, {"a": np.repeat(np.arange(20), 3)})
    assert (copies.value, copies.low, copies.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert (copies.n, alone.n) == (60, 20)


def test_long_documents_weigh_more() -> None:
    """Means are over blocks: of a document with three ones and one with a single zero, 3/4 are ones."""
    found = paired_bootstrap({"a": np.array([[1.0, 1, 1, 0]])}, 0, {"a": np.array([5, 5, 5, 9])})
    assert (found.value, found.low, found.high) == (0.75, 0, 1)


@pytest.mark.parametrize("bad", [{}, {"a": np.empty((1, 0))}, {"a": np.array([[np.nan, 1]])}])
def test_nothing_to_resample_is_refused(bad) -> None:
    with pytest.raises(ValueError, match="at least one"):
        paired_bootstrap(bad, seed=0)


def test_interval_agrees_with_scipy() -> None:
    data = np.random.default_rng(1).gamma(2, size=60)
    ours = paired_bootstrap({"a": data[None]}, seed=0)
    theirs = bootstrap(
        (data,), np.mean, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_interval_agrees_with_plain_resampling_of_items_and_seeds() -> None:
    rng = np.random.default_rng(3)
    data = {task: rng.integers(-1, 2, (3, n)) + shift for task, n, shift in [("a", 30, 0.0), ("b", 50, 0.2)]}
    means = []
    for _ in range(5000):
        seeds = rng.integers(0, 3, 3)  # the same for all tasks
        drawn = [x[seeds][:, rng.integers(0, x.shape[1], x.shape[1])].mean() for x in data.values()]
        means.append(np.mean(drawn))
    ours = paired_bootstrap(data, seed=0)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.015)
    assert ours.value == pytest.approx(np.mean([x.mean() for x in data.values()]))


def answers(
    rng: np.random.Generator, items: int, seeds: int = 1, luck: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return right and wrong answers [seeds, items] of two methods, which are right with 0.6 and 0.5.

    Items differ in ease, the same for both, and seeds in luck, which helps a method on all items.
    """
    noise = 0.6 * rng.normal(size=(2, seeds, items)) + luck * rng.normal(size=(2, seeds, 1))
    scores = (rng.normal(size=items) + noise) / np.sqrt(1 + 0.6**2 + luck**2)
    left, right = scores > np.array([-0.2533, 0.0])[:, None, None]  # P(z > -0.2533) = 0.6
    return left.astype(float), right.astype(float)


def coverage(draw: Callable[[int], tuple[np.ndarray, np.ndarray]], repeats: int) -> float:
    """Return how often the interval holds the true difference of 0.1 between what `draw(items)` gives."""
    hits = 0
    for repeat in range(repeats):
        pairs = {"a": draw(50), "b": draw(120)}
        estimate = paired_bootstrap({task: a - b for task, (a, b) in pairs.items()}, seed=repeat)
        hits += estimate.low <= 0.1 <= estimate.high
    return hits / repeats


def test_nominal_coverage_over_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfprune.analysis.statistics.RESAMPLES", 1000)
    rng = np.random.default_rng(4)
    assert 0.92 <= coverage(lambda items: answers(rng, items), 400) <= 0.98


def test_coverage_over_items_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seeds give nearly nominal coverage, though luck differs between seeds."""
    monkeypatch.setattr("hfprune.analysis.statistics.RESAMPLES", 1000)
    rng = np.random.default_rng(4)
    assert 0.89 <= coverage(lambda items: answers(rng, items, seeds=10, luck=0.3), 120) <= 0.99


def test_pairing_narrows_the_interval() -> None:
    a, b = answers(np.random.default_rng(5), 400)
    paired = paired_bootstrap({"a": a - b}, seed=0)
    alone = [paired_bootstrap({"a": x}, seed=0) for x in (a, b)]
    unpaired = np.hypot(*[x.high - x.low for x in alone])
    assert paired.high - paired.low < 0.75 * unpaired


def test_mcnemar_by_hand() -> None:
    left = np.array([1] * 8 + [0] * 2 + [1] * 20 + [0] * 5)
    right = np.array([0] * 8 + [1] * 2 + [1] * 20 + [0] * 5)
    # P(X ≥ 8) for ten fair coins is (45 + 10 + 1) / 1024.
    assert mcnemar(left, right) == (8, 2, pytest.approx(2 * 56 / 1024))
    assert mcnemar(right, left) == (2, 8, pytest.approx(2 * 56 / 1024))
    assert mcnemar(left, left) == (0, 0, 1.0)


def numbers(*rows: tuple[float, float], n: int = 1) -> pd.DataFrame:
    return pd.DataFrame([*rows], columns=["value", "stderr"]).assign(n=n)


def test_ratio_of_one_seed_takes_the_errors_of_both() -> None:
    found = ratio(numbers((2.0, 0.06), n=3), numbers((1.0, 0.04), n=5), repeatable=False)
    assert found.value == pytest.approx(2)
    # 0.03² + 0.04² = 0.05²; Welch: 0.05⁴ / (0.03⁴ / 2 + 0.04⁴ / 4) = 6.25 / 1.045 degrees of freedom.
    half = 0.05 * t.ppf(0.975, 6.25 / 1.045)
    assert (found.low, found.high) == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)))


def test_ratio_over_seeds_is_students_t_of_the_logarithms() -> None:
    left = numbers((2.0, np.nan), (4.0, np.nan), (8.0, np.nan))
    found = ratio(left, numbers((1.0, np.nan)), repeatable=False)
    half = 4.302653 * np.log(2) / np.sqrt(3)  # two degrees of freedom; standard deviation log 2
    assert (found.value, found.seeds) == (pytest.approx(4), 3)
    assert (found.low, found.high) == pytest.approx((4 * np.exp(-half), 4 * np.exp(half)), rel=1e-5)


def test_ratio_measured_once_has_an_interval_only_if_it_repeats() -> None:
    one, two = numbers((1.0, np.nan)), numbers((2.0, np.nan))
    exact = ratio(two, one, repeatable=True)
    assert (exact.low, exact.high) == (2, 2)
    assert np.isnan(ratio(two, one, repeatable=False).low)
    steady = ratio(numbers((2.0, 0.0), n=3), numbers((1.0, 0.0), n=3), repeatable=False)
    assert (steady.low, steady.high) == pytest.approx((2, 2)), "no spread over three repeats"
