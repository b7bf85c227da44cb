"""Levels: the means over draws of all values and of their averages over tasks, with intervals."""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS, PRIMARY, SCORE, preferred
from hfprune.calibration.folds import MIN_DRAWS
from hfprune.cells import CELL_COLUMNS, KEY
from hfprune.errors import HfpruneError
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS, MARGIN, NOT_AVERAGED
from hfprune.results.declarations import Declarations
from hfprune.statistics.estimates import LEVEL, interval
from hfprune.statistics.spread import MIN_DOCUMENTS, draws_and_items

# The columns that identify a mean over draws.
OF_MEAN = [name for name in KEY if name != "draw"]
MEAN = "mean"  # the task of a mean over the tasks of a measure that is not zero-shot


def primary_values(rows: pd.DataFrame, measure: str = "zeroshot") -> pd.DataFrame:
    """Return the rows whose metric is the one by which their task of a zero-shot measure counts (`preferred`)."""
    zeroshot = rows[(rows["measure"] == measure) & ~rows["metric"].isin([AVERAGE, MARGIN])]
    chosen = {}
    for task, metrics in zeroshot.groupby("task")["metric"]:
        counting = preferred(metrics)
        if not counting:
            lacking = f"no {', '.join(PRIMARY)} among the metrics {sorted({*metrics})}"
            raise HfpruneError(f"zero-shot task {task}: {lacking}; the paper's rule needs one of them")
        chosen[task] = counting[0]
    return zeroshot[zeroshot["metric"] == zeroshot["task"].map(chosen)]


def with_averages(results: pd.DataFrame, measure: str = "zeroshot") -> pd.DataFrame:
    """Return `primary_values` followed by one row per cell and average, with the average's name as the task.

    `average` is the paper's: the plain mean of all tasks, with CrowS-Pairs' share of stereotypes counted as an
    accuracy. `average without CrowS` leaves that task out. Tasks count as independent, so the standard error over
    k tasks is sqrt(Σ se²)/k. A cell that lacks a task of another cell gets no average, since means over different
    tasks are not comparable.
    """
    primary = primary_values(results, measure)
    without = primary[primary["metric"] != CROWS]
    averages = {AVERAGE: primary, AVERAGE_WITHOUT_CROWS: without}
    means = [_mean_over_tasks(rows, name, AVERAGE) for name, rows in averages.items()]
    return pd.concat([primary, *means], ignore_index=True)


def _mean_over_tasks(rows: pd.DataFrame, task: str, metric: str) -> pd.DataFrame:
    tasks = rows["task"].nunique()
    cells = rows.assign(variance=rows["stderr"] ** 2).groupby([*CELL_COLUMNS, "measure"])
    mean = cells[["value", "n"]].agg({"value": "mean", "n": "sum"})
    # min_count: a task without a standard error leaves the mean without one.
    mean["stderr"] = np.sqrt(cells["variance"].sum(min_count=tasks)) / tasks
    mean = mean[cells.size() == tasks].reset_index()
    return mean.assign(task=task, metric=metric)[[*KEY, "value", "stderr", "n"]]


def without_tasks(average: str, tasks: Collection[str]) -> str:
    """Return the name of an average that leaves these tasks out, in the order in which they are given."""
    return average + "".join(f" without {task}" for task in tasks)


def levels(results: pd.DataFrame, declared: Declarations) -> pd.DataFrame:
    """Return the level of every value over all draws, and of averages over tasks.

    The averages of a zero-shot measure are those of `with_averages`, and again without the tasks that a table of
    the paper leaves out (`without_tasks`) if these were measured. The margin of such a measure, and any other
    measure of several tasks, have their mean under the task `mean`.

    Returns:
        The columns of `over_draws`, and `low` and `high`, the ends of the 95 % interval of `half_width`. Where the
        metric is compared by ratios, errors multiply, so that the interval is symmetric in the logarithm (delta
        method: the logarithm's standard error is stderr / value). A share of right answers has Wilson's interval.
    """
    averages = [rows for rows in _averages(results, declared) if len(rows)]
    rows = over_draws(pd.concat([results, *averages]))
    pairs = [*zip(rows["measure"], rows["metric"], strict=True)]
    metrics = {pair: declared.find(*pair).metric for pair in {*pairs}}
    # Repeats of one process give no interval: another process may find another time.
    once = pd.Series([not metrics[pair].repeatable for pair in pairs], rows.index, dtype=bool)
    half = half_width(rows.assign(stderr=rows["stderr"].mask(once)))
    ratios = pd.Series([metrics[pair].effect == "ratio" for pair in pairs], rows.index, dtype=bool)
    value, factor = rows["value"], np.exp(half / rows["value"])
    low, high = (value - half).mask(ratios, value / factor), (value + half).mask(ratios, value * factor)
    return _with_scores(rows.assign(low=low, high=high), _shares(results, declared))


def _shares(results: pd.DataFrame, declared: Declarations) -> pd.Index:
    """Return the levels, by their coordinates, that are shares of right answers: every item is 0 or 1.

    Among items from 0 to 1 with the mean p, only those have the variance p (1 - p) n / (n - 1); the variance of
    answers that are right in part, such as F1's, is smaller.
    """
    kinds = results["measure"].map(declared.kind)
    accuracies = kinds.eq("zeroshot") & results["metric"].isin(PRIMARY)
    scores = results[accuracies | (kinds.eq("tasks") & results["metric"].eq(SCORE))]
    p, variance = scores["value"], scores["stderr"] ** 2 * (scores["n"] - 1)
    zero_or_one = pd.Series(np.isclose(variance, p * (1 - p), rtol=1e-4), scores.index)
    in_all_draws = zero_or_one.groupby([scores[name] for name in OF_MEAN]).all()
    return in_all_draws[in_all_draws].index


def _with_scores(levels: pd.DataFrame, shares: pd.Index) -> pd.DataFrame:
    """Return levels in which the `shares` of right answers have Wilson's score interval.

    It stays between 0 and 1, and has a length even where all answers are right. Where draws add variance, n is the
    number of answers that would have this variance, and the quantile over draws is Student's.

    Sources: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927; Dean and Pagano,
    "Evaluating Confidence Interval Methods for Binomial Proportions in Clustered Surveys", 2015.
    """
    from scipy.stats import norm

    rows = levels[pd.MultiIndex.from_frame(levels[OF_MEAN]).isin(shares) & levels["low"].notna()]
    p, normal = rows["value"], norm.ppf((1 + LEVEL) / 2)
    variance = rows["stderr"].fillna(0) ** 2 + (rows["sd"] ** 2 / rows["draws"]).fillna(0)
    vary = variance > 0
    n = (p * (1 - p) / variance.where(vary) + 1).fillna(rows["n"].astype(float))
    z = ((rows["high"] - rows["low"]) / 2 / np.sqrt(variance)).where(vary & (rows["draws"] > 1), normal)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scored = levels.copy()
    scored.loc[rows.index, ["low", "high"]] = np.column_stack(
        [np.minimum(middle - half, p), np.maximum(middle + half, p)]  # rounding may put an end beyond p
    )
    return scored


def _averages(results: pd.DataFrame, declared: Declarations) -> Iterator[pd.DataFrame]:
    per_task = {row.measure for row in declared if row.per_task}
    for measure, rows in results.groupby("measure"):
        if declared.kind(measure) == "zeroshot":
            with_crows = CROWS in {*rows["metric"]}
            some = [tasks for tasks in NOT_AVERAGED.values() if {*tasks} & {*rows["task"]}]
            for left_out in [(), *some]:
                means = with_averages(rows[~rows["task"].isin(left_out)], measure)
                means = means[means["metric"] == AVERAGE]
                means = means[with_crows | (means["task"] != AVERAGE_WITHOUT_CROWS)]
                yield means.assign(task=[without_tasks(task, left_out) for task in means["task"]])
            if len(margins := rows[rows["metric"] == MARGIN]):
                yield _mean_over_tasks(margins, MEAN, MARGIN)
        elif rows["task"].nunique() > 1 and measure in per_task:
            for metric, group in rows.groupby("metric"):
                yield _mean_over_tasks(group, MEAN, metric)


def over_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce tidy rows that differ only in their draw to a single row.

    `value` is the mean, `sd` the standard deviation over draws (missing for a single draw), and `stderr` the
    average over draws of the standard error over items; `draws` and `n` are counts.
    """
    by = [column for column in rows.columns if column not in ("draw", "value", "stderr", "n")]
    return rows.groupby(by, as_index=False, dropna=False).agg(
        value=("value", "mean"),
        sd=("value", "std"),
        stderr=("stderr", "mean"),
        draws=("draw", "nunique"),
        n=("n", "max"),
    )


def error_column(summary: pd.DataFrame) -> str:
    """Return the meaning of ± for these rows of `over_draws`: `sd` if any has several draws, else `stderr`.

    The sign must not mean both, since they differ in size and in meaning.
    """
    return "sd" if (summary["draws"] > 1).any() else "stderr"


def half_width(summary: pd.DataFrame) -> pd.Series:
    """Return half the length of the 95 % interval of rows of `over_draws`: over items, and draws if several.

    The variance over draws contains a share of that over items, so that the interval over several draws is a
    little too wide; where outcomes per item are at hand, `hfprune.statistics.estimates.estimate` separates the
    two. With one draw, the interval does not cover other draws. Fewer than `MIN_DRAWS` but more than one have no
    interval, nor have fewer than `MIN_DOCUMENTS` documents.
    """
    items, draws = summary["stderr"].astype(float) ** 2, summary["sd"] ** 2 / summary["draws"]
    dofs = (summary["draws"] - 1).clip(lower=1), summary["n"].astype(float) - 1
    dof = draws_and_items(draws.fillna(0), items.fillna(0), *dofs)
    _, half = interval(0.0, draws.fillna(0) + items.fillna(0), dof)
    enough = (items.notna() & (summary["n"].astype(float) >= MIN_DOCUMENTS)) | (items.isna() & draws.notna())
    enough &= ~summary["draws"].between(2, MIN_DRAWS - 1)
    return pd.Series(half, summary.index).where(enough)
