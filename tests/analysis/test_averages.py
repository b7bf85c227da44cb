"""The paper's metric rule, averages over tasks and summaries over seeds, against numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from synthetic import Study

from hfprune.analysis.averages import (
    half_width,
    over_seeds,
    primary_metric,
    spread,
    with_averages,
)
from hfprune.analysis.tidy import CELL_COLUMNS, Tidy
from hfprune.errors import HfpruneError
from hfprune.results import Value


@pytest.mark.parametrize(
    ("metrics", "chosen"),
    [
        (["acc", "acc_norm"], "acc_norm"),
        (["acc"], "acc"),
        (["likelihood_diff", "pct_stereotype"], "pct_stereotype"),
        (["acc", "acc_norm", "pct_stereotype"], "pct_stereotype"),
    ],
)
def test_primary_metric(metrics: list[str], chosen: str) -> None:
    assert primary_metric(metrics) == chosen


def test_a_task_without_a_primary_metric_is_named(study: Study) -> None:
    study.result("entropy", 0.2, "zeroshot", "gsm8k", Value("exact_match", 0.1))
    with pytest.raises(HfpruneError, match=r"zero-shot task gsm8k: .*exact_match"):
        study.collect()


COLUMNS = [*CELL_COLUMNS, "measure", "task", "metric", "value", "stderr", "n"]


def table(study: Study) -> pd.DataFrame:
    return Tidy(study.collect()).tidy[COLUMNS]


def by_task(rows: pd.DataFrame, column: str) -> dict[str, float]:
    return dict(zip(rows["task"], rows[column], strict=True))


def test_averages_by_hand(study: Study) -> None:
    study.result("entropy", 0.2, "zeroshot", "boolq", Value("acc", 0.6, 0.03, 100))
    study.result(
        "entropy", 0.2, "zeroshot", "piqa", Value("acc", 0.9, 0.5, 50), Value("acc_norm", 0.7, 0.04, 50)
    )
    crows = Value("pct_stereotype", 0.5, 0.12, 10), Value("likelihood_diff", 3.0, 0.1, 10)
    study.result("entropy", 0.2, "zeroshot", "crows_pairs_english", *crows)
    rows = with_averages(table(study))

    assert by_task(rows, "value") == pytest.approx(
        {"boolq": 0.6, "piqa": 0.7, "crows_pairs_english": 0.5, "average": 0.6, "average without CrowS": 0.65}
    )
    errors = by_task(rows, "stderr")
    assert errors["average"] == pytest.approx(0.13 / 3)  # 0.03² + 0.04² + 0.12² = 0.13²
    assert errors["average without CrowS"] == pytest.approx(0.05 / 2)
    assert by_task(rows, "n")["average"] == 160


def test_without_crows_both_averages_agree(study: Study) -> None:
    study.result("entropy", 0.2, "zeroshot", "boolq", Value("acc", 0.6, 0.03, 100))
    values = by_task(with_averages(table(study)), "value")
    assert values["average"] == values["average without CrowS"] == 0.6


def test_a_cell_that_lacks_a_task_has_no_average(study: Study) -> None:
    for method, tasks in {"entropy": ["boolq", "piqa"], "random": ["boolq"]}.items():
        for task in tasks:
            study.result(method, 0.2, "zeroshot", task, Value("acc", 0.6, 0.03, 100))
    rows = with_averages(table(study))
    assert rows.loc[rows["task"] == "average", "method"].tolist() == ["entropy"]


def test_a_cell_that_lacks_only_crows_keeps_the_average_without(study: Study) -> None:
    for method in ("entropy", "random"):
        study.result(method, 0.2, "zeroshot", "boolq", Value("acc", 0.6, 0.03, 100))
    study.result("entropy", 0.2, "zeroshot", "crows_pairs_english", Value("pct_stereotype", 0.6, 0.03, 100))
    rows = with_averages(table(study))
    assert rows.loc[rows["task"] == "average", "method"].tolist() == ["entropy"]
    assert rows.loc[rows["task"] == "average without CrowS", "method"].tolist() == ["entropy", "random"]


def test_one_task_without_an_error_leaves_the_average_without(study: Study) -> None:
    study.result("entropy", 0.2, "zeroshot", "boolq", Value("acc", 0.6, 0.03, 100))
    study.result("entropy", 0.2, "zeroshot", "piqa", Value("acc", 0.8))
    errors = by_task(with_averages(table(study)), "stderr")
    assert np.isnan(errors["average"])


def summary(study: Study, *values: float) -> pd.DataFrame:
    for seed, value in enumerate(values):
        study.result("entropy", 0.2, "perplexity", "wiki", Value("perplexity", value, 0.5, 24), seed=seed)
    return over_seeds(table(study))


def test_one_seed_keeps_the_error_over_items(study: Study) -> None:
    rows = summary(study, 20.0)
    assert rows[["value", "stderr", "seeds", "n"]].to_numpy().tolist() == [[20.0, 0.5, 1, 24]]
    assert rows["sd"].isna().all()
    assert spread(rows) == "stderr"
    assert half_width(rows).tolist() == pytest.approx([2.0687 * 0.5], rel=1e-4), "Student's t of 23"


def test_several_seeds_give_mean_and_deviation(study: Study) -> None:
    rows = summary(study, 18.0, 20.0, 22.0)
    assert rows[["value", "sd", "seeds"]].to_numpy().tolist() == [[20.0, 2.0, 3]]
    assert rows["stderr"].tolist() == [0.5]
    assert spread(rows) == "sd"
    # The variances add; that over draws, of two degrees of freedom, counts 1 + 4/2 times in those of the sum.
    draws, items = 2.0**2 / 3, 0.5**2
    dof = (3 * draws + items) ** 2 / ((3 * draws) ** 2 / 2 + items**2 / 23)
    assert half_width(rows).tolist() == pytest.approx([t.ppf(0.975, dof) * np.sqrt(draws + items)])


def test_cost_without_a_ratio_survives_the_summary(study: Study) -> None:
    study.result("entropy", None, "cost", "", Value("seconds", 3.0))
    assert over_seeds(table(study))["value"].tolist() == [3.0]


def test_nothing_measured_gives_no_rows(study: Study, tmp_path: Path) -> None:
    rows = with_averages(table(study))
    assert rows.empty and over_seeds(rows).empty
