"""Zero-shot scores by the paper's metric rule, their averages over tasks, and summaries over seeds."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from hfprune.analysis.statistics import MIN_DOCUMENTS, MIN_DRAWS, draws_and_items, interval
from hfprune.analysis.tidy import CELL_COLUMNS
from hfprune.errors import HfpruneError
from hfprune.paper.tables import AVERAGE, AVERAGE_WITHOUT_CROWS, CROWS


def primary_metric(metrics: Collection[str], task: str = "") -> str:
    """Return the primary metric among the metrics of a zero-shot task.

    The rule is that of the evaluation script of SDMPrune, the paper's predecessor; the paper states none.

    Raises:
        HfpruneError: the task has none of the three metrics that the rule knows.
    """
    for metric in (CROWS, "acc_norm", "acc"):
        if metric in metrics:
            return metric
    raise HfpruneError(
        f"zero-shot task {task}: no {CROWS}, acc_norm or acc among the metrics {sorted(metrics)}; "
        "the paper's rule needs one of them"
    )


def primary_values(results: pd.DataFrame, measure: str = "zeroshot") -> pd.DataFrame:
    """Return the rows of the tidy table with the primary metric of each task of a zero-shot measure.

    Raises:
        HfpruneError: a task has no metric that the paper's rule knows.
    """
    zeroshot = results[results["measure"] == measure]
    chosen = {task: primary_metric(set(found), task) for task, found in zeroshot.groupby("task")["metric"]}
    return zeroshot[zeroshot["metric"] == zeroshot["task"].map(chosen)]


def with_averages(results: pd.DataFrame, measure: str = "zeroshot") -> pd.DataFrame:
    """Return `primary_values` followed by one row per cell and average, with the average's name as the task.

    `average` is the paper's: the plain mean of all tasks, with CrowS-Pairs' share of stereotypes counted as an
    accuracy. `average without CrowS` leaves that task out. Tasks count as independent, so the standard error
    is sqrt(Σ se²)/k. A cell without a task that another cell has gets no average, since means over different
    tasks are not comparable.
    """
    primary = primary_values(results, measure)
    without = primary[primary["metric"] != CROWS]
    averages = [
        mean_over_tasks(rows).assign(task=name, metric=AVERAGE)
        for rows, name in ((primary, AVERAGE), (without, AVERAGE_WITHOUT_CROWS))
    ]
    return pd.concat([primary, *averages], ignore_index=True)


def mean_over_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce tidy rows that differ only in their task and metric to their mean, with an empty task and metric.

    Tasks count as independent, so the standard error is sqrt(Σ se²)/k. A cell without a task that another cell has
    gets no row.
    """
    tasks = rows["task"].nunique()
    cells = rows.assign(variance=rows["stderr"] ** 2).groupby([*CELL_COLUMNS, "measure"])
    mean = cells[["value", "n"]].agg({"value": "mean", "n": "sum"})
    # min_count: one task without a standard error leaves the mean without one.
    mean["stderr"] = np.sqrt(cells["variance"].sum(min_count=tasks)) / tasks
    mean = mean[cells.size() == tasks].reset_index()
    return mean.assign(task="", metric="")[rows.columns]


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
    """Return the meaning of ± for these rows of `over_seeds`: `sd` if any has several seeds, else `stderr`.

    One sign must not mean both, since they differ in size and in meaning.
    """
    return "sd" if (summary["seeds"] > 1).any() else "stderr"


def half_width(summary: pd.DataFrame) -> pd.Series:
    """Return half the 95 % interval of rows of `over_seeds`, over items and, with several seeds, draws.

    The variance over draws contains a share of that over items, so that several seeds make it a little too wide;
    where outcomes per item are at hand, `hfprune.analysis.statistics.estimate` tells the two apart. With one seed
    the interval says nothing of draws. Two seeds have none, nor have fewer than `MIN_DOCUMENTS` documents.
    """
    items, draws = summary["stderr"].astype(float) ** 2, summary["sd"] ** 2 / summary["seeds"]
    dofs = (summary["seeds"] - 1).clip(lower=1), summary["n"].astype(float) - 1
    dof = draws_and_items(draws.fillna(0), items.fillna(0), *dofs)
    _, half = interval(0.0, draws.fillna(0) + items.fillna(0), dof)
    enough = (items.notna() & (summary["n"].astype(float) >= MIN_DOCUMENTS)) | (items.isna() & draws.notna())
    enough &= ~summary["seeds"].between(2, MIN_DRAWS - 1)
    return pd.Series(half, summary.index).where(enough)


def ends(value: pd.Series, half: pd.Series, logarithmic: bool) -> tuple[pd.Series, pd.Series]:
    """Return the ends of intervals of a half width.

    `logarithmic` is for positive values whose errors multiply, such as perplexities: the interval is symmetric in
    the logarithm (delta method: the logarithm's standard error is stderr / value), so that it never reaches zero.
    """
    if not logarithmic:
        return value - half, value + half
    factor = np.exp(half / value)
    return value / factor, value * factor
