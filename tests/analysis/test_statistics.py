"""Intervals over draws and items, Holm's correction and ratios: by hand, and for coverage."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from scipy.stats import skew, t, ttest_1samp

from hfprune.calibration.folds import FOLDS
from hfprune.statistics.estimates import Estimate, estimate, holm, multiples_to_decide
from hfprune.statistics.outcomes import Contrast, Draw, NotComparableError
from hfprune.statistics.quotient import quotient
from hfprune.statistics.spread import Spread


def made(
    tasks: Mapping[str, np.ndarray],
    documents: Mapping[str, np.ndarray] | None = None,
    resampled: Mapping[str, np.ndarray] | None = None,
    fixed: bool = False,
) -> Contrast:
    return Contrast(tasks, resampled or {}, documents or {}, fixed)


def test_variance_parts_are_those_of_a_two_way_table_by_hand() -> None:
    """Mean squares of draws, items and the rest of a table of 3 draws × 4 items, by the textbook."""
    table = np.array([[1.0, 3, 2, 6], [2, 5, 1, 8], [0, 4, 4, 9]])
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    of_draws = 4 * ((rows - mean) ** 2).sum() / 2
    of_items = 3 * ((columns - mean) ** 2).sum() / 3
    rest = ((table - rows[:, None] - columns + mean) ** 2).sum() / 6
    found = estimate(made({"a": table}))
    assert found.spread is not None
    assert found.spread.interaction == pytest.approx(rest / 12)
    assert found.spread.items == pytest.approx((of_items - rest) / 12)
    assert found.spread.draws == pytest.approx(max(of_draws - rest, 0) / 12)
    assert (found.value, found.n, found.draws) == (mean, 4, 3)
    assert not found.has_interval, "too few for an interval"


SYMMETRIC = np.random.default_rng(1).normal(size=15)
SYMMETRIC = np.concatenate([SYMMETRIC, -SYMMETRIC]) + 0.3  # without any skewness
DRAWS = np.array([0.3, 0.1, 0.6])


@pytest.mark.parametrize(
    ("found", "sample"),
    [
        (made({"a": SYMMETRIC[None]}, fixed=True), SYMMETRIC),
        # Items that differ in nothing but the draw: all the uncertainty is that of three draws.
        (made({"a": np.repeat(DRAWS[:, None], 50, axis=1)}), DRAWS),
    ],
    ids=["items", "draws"],
)
def test_over_items_or_draws_alone_it_is_students_t(found: Contrast, sample: np.ndarray) -> None:
    effect, theirs = estimate(found), ttest_1samp(sample, 0)
    assert (effect.low, effect.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert effect.p_value() == pytest.approx(theirs.pvalue)
    assert effect.draws == (0 if found.fixed else len(sample))


@pytest.mark.parametrize("sign", [1, -1])
def test_skewed_items_lengthen_the_interval_on_their_side(sign: int) -> None:
    """The longer end is where Hall's transformation of Student's t is that quantile."""
    data = np.random.default_rng(1).gamma(2, size=30)
    found = estimate(made({"a": sign * data[None]}, fixed=True))
    theirs = ttest_1samp(sign * data, 0).confidence_interval()
    shorter, longer = (found.low, found.high)[::sign]
    assert shorter == pytest.approx(theirs[::sign][0])
    a = skew(data, bias=False) / np.sqrt(30) * (1 + 6 / 29)
    x = (data.mean() - sign * longer) / (data.std(ddof=1) / np.sqrt(30))
    assert x + a * x**2 / 3 + a**2 * x**3 / 27 + a / 6 == pytest.approx(-t.ppf(0.975, 29))
    for end in (longer, shorter):
        assert estimate(made({"a": sign * data[None] - end}, fixed=True)).p_value() == pytest.approx(0.05)
    assert found.minimum() == pytest.approx(abs(longer - found.value) + t.ppf(0.8, 29) * found.stderr)


RANDOM = np.random.default_rng(0).normal(size=(3, 28))


@pytest.mark.parametrize(
    "found",
    [
        made({"a": RANDOM[:1]}),
        made({"a": RANDOM[:2]}),
        made({"a": np.full((1, 1000), 5.0)}),
        made({"a": RANDOM[:1, :1]}, fixed=True),
        made({"a": RANDOM[:1, :7]}, fixed=True),
        made({"a": RANDOM}, {"a": np.repeat(np.arange(7), 4)}),
    ],
    ids=["one draw", "two draws", "one exact draw", "one item", "seven items", "seven documents"],
)
def test_few_draws_or_documents_have_no_interval(found: Contrast) -> None:
    effect = estimate(found)
    assert not effect.has_interval and np.isnan([effect.high, effect.p_value(), effect.minimum()]).all()
    assert effect.value == pytest.approx(found.tasks["a"].mean())
    draws, items = found.tasks["a"].shape
    assert (effect.draws, effect.n) == (0 if found.fixed else draws, items)


def test_eight_documents_have_an_interval() -> None:
    """Whatever their variance, since degrees of freedom may fall short of seven by rounding."""
    random = np.random.default_rng(0)
    assert all(estimate(made({"a": random.normal(size=(3, 8))})).has_interval for _ in range(200))


@pytest.mark.parametrize("seeds", [1, 3])
def test_resamples_stand_for_draws_and_are_pooled_with_seeds_by_their_freedom(seeds: int) -> None:
    rng = np.random.default_rng(3)
    items, luck, again = rng.normal(size=40), rng.normal(size=(seeds, 1)), rng.normal(size=(seeds, 8, 1))
    found = estimate(made({"a": items + luck}, resampled={"a": items + again}))
    assert found.spread is not None and (found.draws, found.resamples) == (seeds, 8)
    assert found.spread.items == pytest.approx(items.var(ddof=1) / 40)
    assert found.spread.interaction == pytest.approx(0)
    # Seven degrees of freedom from eight folds, and seven from eight resamples.
    by_resamples = again.var(axis=1, ddof=1).mean() * FOLDS / (FOLDS - 1) / seeds
    pooled = 3.5 * seeds * by_resamples + (luck.var(ddof=1) * 2 / 3 if seeds > 1 else 0)
    assert found.spread.draws_dof == pytest.approx(3.5 * seeds + seeds - 1)
    assert found.spread.draws == pytest.approx(pooled / (3.5 * seeds + seeds - 1))


def test_every_task_counts_the_same_whatever_its_size() -> None:
    found = estimate(made({"a": np.array([[1.0, 0, 0, 0]]), "b": np.array([[1.0, 1]])}, fixed=True))
    assert (found.value, found.n) == (0.625, 6)
    assert found.spread is not None
    assert found.spread.variance == pytest.approx((0.5 * 0.5) ** 2 / 4), "only the first task varies"


@pytest.mark.parametrize("bad", [{}, {"a": np.empty((1, 0))}, {"a": np.array([[np.nan, 1]])}])
def test_nothing_to_estimate_is_refused(bad) -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate(made(bad))


# Outcomes of so many items whose mean is zero, and their standard deviation.
OUTCOMES = {
    "normal": (lambda rng, n: rng.normal(size=n), 1.0),
    "t3": (lambda rng, n: rng.standard_t(3, size=n), 3**0.5),
    "lognormal": (lambda rng, n: np.exp(rng.normal(size=n)) - np.exp(0.5), ((np.e - 1) * np.e) ** 0.5),
}


def simulated(
    draws: int, resamples: int, luck: float, n: int = 20, kind: str = "normal", repetitions: int = 2500
) -> Iterator[Estimate]:
    """Yield estimates of a true null on n items, with draws whose luck is so many standard errors over items.

    Without draws, all items are of one plan.
    """
    rng, (drawn, sd) = np.random.default_rng([draws, int(10 * luck)]), OUTCOMES[kind]
    for _ in range(repetitions):
        items = drawn(rng, n)
        if not draws:
            yield estimate(made({"a": items[None]}, fixed=True))
            continue
        noise = 0.3 * sd * rng.normal(size=(draws + resamples, n))
        # Folds are parts of one draw: their mean is its luck, and resamples draw among them.
        folds = luck * sd / np.sqrt(n) * np.sqrt(FOLDS) * rng.normal(size=(draws, FOLDS))
        rows = items + folds.mean(1)[:, None] + noise[:draws]
        again = rng.integers(FOLDS, size=(resamples, FOLDS))
        others = items + folds[0][again].mean(1)[:, None] + noise[draws:]
        yield estimate(made({"a": rows}, resampled={"a": others[None]} if resamples else None))


@pytest.mark.parametrize("luck", [0, 1.5, 3.8, 6])
@pytest.mark.parametrize(("draws", "resamples"), [(3, 0), (10, 0), (1, 8)])
def test_intervals_cover_what_they_say(draws: int, resamples: int, luck: float) -> None:
    """A single draw has an interval if resampled calibrations tell its luck."""
    hits = [found.low <= 0 <= found.high for found in simulated(draws, resamples, luck)]
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize(
    ("kind", "n", "draws", "resamples"),
    [("lognormal", 8, 0, 0), ("lognormal", 32, 1, 4), ("lognormal", 16, 3, 0), ("t3", 8, 1, 8)],
)
def test_intervals_of_skewed_items_cover_what_they_say(kind: str, n: int, draws: int, resamples: int) -> None:
    """A thousand repetitions, so ± 1.5 points; Student's t covers less where items are skewed."""
    found = [*simulated(draws, resamples, 0, n, kind, 1000)]
    shown = np.mean([each.low <= 0 <= each.high for each in found])
    student = np.mean([abs(x.value) <= t.ppf(0.975, x.spread.dof) * x.stderr for x in found if x.spread])
    assert 0.92 <= shown <= 0.98
    assert kind == "t3" or student < shown - 0.02


def test_what_decides_is_more_of_what_varies() -> None:
    def decides(rows: np.ndarray, fixed: bool = False) -> tuple[int, int] | None:
        return multiples_to_decide(estimate(made({"a": rows}, fixed=fixed)), lambda found: found.low > 0)

    items = np.random.default_rng(8).normal(size=(1, 20))
    # Student's t of n items: 0.3 > t s / √n.
    n = next(n for n in range(2, 100) if t.ppf(0.975, 20 * n - 1) * items.std(ddof=1) / np.sqrt(20 * n) < 0.3)
    assert decides(0.3 + items - items.mean(), fixed=True) == (1, n)
    by_draws = decides(np.repeat([[-0.4], [0.3], [1.0]], 20, axis=1))
    assert by_draws is not None and by_draws[0] > 1 and by_draws[1] == 1
    assert decides(np.zeros((3, 20))) is None
    assert estimate(made({"a": np.zeros((3, 20))})).p_value() == 1
    assert decides(np.linspace(1, 2, 7)[None], fixed=True) == (1, 2), "fewer than eight have no interval"


def test_three_draws_thrice_are_nine_and_eight_documents_twice_sixteen() -> None:
    spread = Spread(draws=6.0, items=4.0, interaction=12.0, third=12.0, draws_dof=2, items_dof=7)
    assert spread.with_more(3, 2) == Spread(2.0, 2.0, 2.0, 3.0, draws_dof=8, items_dof=15)


def test_holm_by_hand() -> None:
    # 4 × 0.01; the larger of that and 3 × 0.013; 2 × 0.03; the same, since 1 × 0.04 is less.
    found = holm([0.03, 0.01, np.nan, 0.04, 0.013])
    assert found == pytest.approx([0.06, 0.04, np.nan, 0.06, 0.04], nan_ok=True)
    assert holm([0.6, 0.9]) == [1, 1]


def numbers(*values: float) -> dict[Draw | None, float]:
    return {Draw(seed): value for seed, value in enumerate(values)}


# Student's t of the logarithms: two degrees of freedom; standard deviation log 2.
WITHIN = np.exp(4.302653 * np.log(2) / np.sqrt(3))


@pytest.mark.parametrize(
    ("left", "right", "repeatable", "value", "factor"),
    [
        (numbers(2, 4, 8), None, False, 4, WITHIN),
        (numbers(2, 4, 8), numbers(1, 1, 1), False, 4, WITHIN),
        (numbers(2, 4, 8), {None: 1.0}, False, 4, np.nan),  # one process of the dense model
        (numbers(2, 4, 8), {None: 1.0}, True, 4, WITHIN),
        (numbers(2), numbers(1), False, 2, np.nan),
        (numbers(2, 2), numbers(1, 1), False, 2, np.nan),
        (numbers(2), numbers(1), True, 2, 1),
    ],
)
def test_ratio_has_the_interval_over_processes(left, right, repeatable, value, factor) -> None:
    found = quotient(left, right, repeatable)
    assert (np.exp(found.value), found.draws) == (pytest.approx(value), len(left))
    ends = np.exp([found.low, found.high])
    assert ends == pytest.approx([value / factor, value * factor], rel=1e-5, nan_ok=True)
    with pytest.raises(NotComparableError, match="zero or less"):
        quotient(left | {Draw(0): 0.0}, right, repeatable)
