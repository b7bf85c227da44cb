"""The paper's metric rule, averages over tasks and summaries over draws, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t
from synthetic import PAPER, Study

from hfprune.cells import KEY, Value
from hfprune.errors import HfpruneError
from hfprune.results.averages import error_column, half_width, over_draws, with_averages
from hfprune.results.reader import Results

BOOLQ, PIQA = Value("acc", 0.6, 0.03, 100), (Value("acc", 0.9, 0.5, 50), Value("acc_norm", 0.7, 0.04, 50))
CROWS = Value("pct_stereotype", 0.5, 0.12, 10), Value("likelihood_diff", 3.0, 0.1, 10)
ALL, WITHOUT = "average", "average without CrowS"


def table(study: Study) -> pd.DataFrame:
    return Results(study.collect()).tidy[[*KEY, "value", "stderr", "n"]]


@pytest.mark.parametrize(
    ("tasks", "values", "errors"),
    [
        # 0.03² + 0.04² + 0.12² = 0.13²
        ({"boolq": [BOOLQ], "piqa": PIQA, "crows": CROWS}, {ALL: 0.6, WITHOUT: 0.65}, [0.13 / 3, 0.05 / 2]),
        ({"boolq": [BOOLQ]}, {ALL: 0.6, WITHOUT: 0.6}, [0.03, 0.03]),
        # One task without an error leaves the average without.
        ({"boolq": [BOOLQ], "piqa": [Value("acc", 0.8)]}, {ALL: 0.7, WITHOUT: 0.7}, [np.nan, np.nan]),
        ({}, {}, []),
    ],
)
def test_averages_by_hand(study: Study, tasks, values, errors) -> None:
    for task, found in tasks.items():
        study.result("entropy", 0.2, "zeroshot", task, *found)
    rows = with_averages(table(study)).set_index("task")
    assert [*rows.index] == [*sorted(tasks), *values], "the primary metric of each task, and the averages"
    averages = rows.loc[[*values]]
    assert averages["value"].to_dict() == pytest.approx(values)
    assert averages["stderr"].tolist() == pytest.approx(errors, nan_ok=True)
    assert averages["n"].tolist()[:1] == [rows.loc[[*tasks], "n"].sum()][: len(values)]


@pytest.mark.parametrize(("lacks", "without"), [("piqa", ["entropy"]), ("crows", ["entropy", "random"])])
def test_a_cell_that_lacks_a_task_has_no_average(study: Study, lacks: str, without: list[str]) -> None:
    for task, found in {"boolq": [BOOLQ], "piqa": PIQA, "crows": CROWS}.items():
        for method in ("entropy", "random"):
            if (method, task) != ("random", lacks):
                study.result(method, 0.2, "zeroshot", task, *found)
    found = with_averages(table(study)).groupby("task")["method"].agg(list)
    assert (found[ALL], found[WITHOUT]) == (["entropy"], without)


def test_a_task_without_a_primary_metric_is_named(study: Study) -> None:
    study.result("entropy", 0.2, "zeroshot", "gsm8k", Value("exact_match", 0.1))
    with pytest.raises(HfpruneError, match=r"zero-shot task gsm8k: .*exact_match"):
        study.collect()


def share(right: int, n: int, metric: str = "acc") -> Value:
    """A task's value of n answers of which so many are right."""
    p = right / n
    return Value(metric, p, (p * (1 - p) / (n - 1)) ** 0.5, n)


@pytest.mark.parametrize(("right", "n"), [(0, 24), (3, 24), (24, 24), (41, 100)])
def test_a_tasks_accuracy_has_wilsons_interval(study: Study, right: int, n: int) -> None:
    study.result("entropy", 0.2, "zeroshot", "boolq", share(right, n))
    for draw in range(3):  # whose spread adds to the variance, but no bound is crossed
        study.result("random", 0.2, "zeroshot", "boolq", share(abs(right - draw), n), draw=draw)
    levels = Results(study.collect(), PAPER).levels.query("metric == 'acc'").set_index("method")
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert levels.loc["entropy", ["low", "high"]].tolist() == pytest.approx([*expected])
    low, value, high = levels.loc["random", ["low", "value", "high"]]
    assert 0 < low < value < high < 1 and high - low > expected.high - expected.low


def test_scores_that_are_right_in_part_have_students_interval(study: Study) -> None:
    """As F1's; one such draw is enough, and the mean of two tasks is no share of right answers."""
    study.more = {"tasks": {"tasks": ["squadv2", "gsm8k_cot"]}}
    right, partly = share(16, 24, "score"), Value("score", 2 / 3, 0.05, 24)
    for draw in range(3):
        study.result("entropy", 0.2, "tasks", "squadv2", partly if draw == 1 else right, draw=draw)
        study.result("entropy", 0.2, "tasks", "gsm8k_cot", right, draw=draw)
    levels = Results(study.collect(), PAPER).levels.query("metric == 'score'").set_index("task")
    above, below = levels["high"] - levels["value"], levels["value"] - levels["low"]
    assert np.isclose(above, below)[levels.index != "gsm8k_cot"].tolist() == [True, True]
    assert above["gsm8k_cot"] < below["gsm8k_cot"]


@pytest.mark.parametrize(
    ("values", "sd", "sign", "variance"),
    [([20.0], np.nan, "stderr", 0.0), ([18.0, 20.0, 22.0], 2.0, "sd", 4 / 3)],
)
def test_draws_give_mean_and_deviation(study: Study, values, sd, sign, variance) -> None:
    for draw, value in enumerate(values):
        study.result("entropy", 0.2, "perplexity", "wiki", Value("perplexity", value, 0.5, 24), draw=draw)
    rows = over_draws(table(study))
    found = rows[["value", "sd", "stderr", "draws", "n"]].to_numpy(float).tolist()
    assert found == [pytest.approx([20, sd, 0.5, len(values), 24], nan_ok=True)]
    assert error_column(rows) == sign
    # The variances add; that over draws, of two degrees of freedom, counts 1 + 4/2 times in those of the sum.
    dof = (3 * variance + 0.25) ** 2 / ((3 * variance) ** 2 / 2 + 0.25**2 / 23)
    assert half_width(rows).tolist() == pytest.approx([t.ppf(0.975, dof) * np.sqrt(variance + 0.25)])


def test_eight_documents_have_an_interval_and_seven_none(study: Study) -> None:
    for method, n in (("entropy", 8), ("random", 7)):
        study.result(method, 0.2, "perplexity", "wiki", Value("perplexity", 20.0, 0.5, n))
    half = half_width(over_draws(table(study)).set_index("method"))
    assert half["entropy"] == pytest.approx(t.ppf(0.975, 7) * 0.5) and np.isnan(half["random"])
