"""Zero-shot scores by the paper's metric rule, their averages over tasks, and summaries over seeds."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from hfprune.analysis.collect import CELL
from hfprune.errors import HfpruneError

CROWS = "pct_stereotype"
AVERAGE = "average"
AVERAGE_WITHOUT_CROWS = "average without CrowS"


def primary_metric(metrics: Collection[str]) -> str:
    """Return the metric that stands for a task among those it has.

    The rule is that of the evaluation script of SDMPrune, the paper's predecessor; the paper states none.

    Raises:
        HfpruneError: there is none of the three that the rule knows.
    """
    for metric in (CROWS, "acc_norm", "acc"):
        if metric in metrics:
            return metric
    raise HfpruneError(
        f"no {CROWS}, acc_norm or acc among the metrics {sorted(metrics)}; the paper's rule needs a task with one"
    )


def primary_values(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tidy table with the primary metric of each zero-shot task.

    Raises:
        HfpruneError: a task has no metric that the paper's rule knows.
    """
    zeroshot = results[results["measure"] == "zeroshot"]
    chosen = {}
    for task, metrics in zeroshot.groupby("task")["metric"]:
        try:
            chosen[task] = primary_metric(set(metrics))
        except HfpruneError as error:
            raise HfpruneError(f"zero-shot task {task}: {error}") from error
    return zeroshot[zeroshot["metric"] == zeroshot["task"].map(chosen)]


def with_averages(results: pd.DataFrame) -> pd.DataFrame:
    """Return `primary_values` followed by one row per cell and average, with the average's name as the task.

    `average` is the paper's: the plain mean of all tasks, the share of stereotypes in CrowS-Pairs counted as if it
    were an accuracy. `average without CrowS` leaves that out. Tasks count as independent, so the standard error
    is sqrt(Σ se²)/k. A cell that lacks a task which another cell has gets no average: a mean over fewer tasks
    could not be compared.
    """
    primary = primary_values(results)
    without = primary[primary["metric"] != CROWS]
    return pd.concat(
        [primary, _average(primary, AVERAGE), _average(without, AVERAGE_WITHOUT_CROWS)], ignore_index=True
    )


def _average(primary: pd.DataFrame, name: str) -> pd.DataFrame:
    tasks = primary["task"].nunique()
    cells = primary.assign(variance=primary["stderr"] ** 2).groupby(CELL)
    mean = cells[["value", "n"]].agg({"value": "mean", "n": "sum"})
    # min_count: one task without a standard error leaves the average without one.
    mean["stderr"] = np.sqrt(cells["variance"].sum(min_count=tasks)) / tasks
    mean = mean[cells.size() == tasks].reset_index()
    return mean.assign(measure="zeroshot", task=name, metric=AVERAGE)[primary.columns]


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce tidy rows that differ only in their seed to one.

    Returns:
        The rows without `seed`; `value` is the mean, `sd` the standard deviation over seeds (missing for a single
        seed), `stderr` the standard error over items of one seed, on average, `seeds` and `n` are counts.
    """
    by = [column for column in rows.columns if column not in ("seed", "value", "stderr", "n")]
    return rows.groupby(by, as_index=False, dropna=False).agg(
        value=("value", "mean"),
        sd=("value", "std"),
        stderr=("stderr", "mean"),
        seeds=("seed", "nunique"),
        n=("n", "max"),
    )


def spread(summary: pd.DataFrame) -> str:
    """Return what ± means for these rows of `over_seeds`: `sd` if any has several seeds, else `stderr`.

    One sign must not stand for both: they differ in size and in meaning.
    """
    return "sd" if (summary["seeds"] > 1).any() else "stderr"


def half_width(summary: pd.DataFrame) -> pd.Series:
    """Return half the 95 % interval of rows of `over_seeds`: Student's t over items, or over seeds."""
    from scipy.stats import t

    if spread(summary) == "stderr":
        return t.ppf(0.975, summary["n"] - 1) * summary["stderr"]
    return t.ppf(0.975, summary["seeds"] - 1) * summary["sd"] / np.sqrt(summary["seeds"])
