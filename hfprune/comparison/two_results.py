"""Two models that answered the same questions: the paired effect per task and on their mean."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hfprune.analysis.outcomes import contrast
from hfprune.analysis.statistics import LEVEL, estimate, holm
from hfprune.comparison.answered import Answers
from hfprune.errors import HfpruneError
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS, CROWS
from hfprune.results.items import commonest

# Columns in which the tables of two sides agree.
ALIKE = {"item": "questions", "doc_hash": "questions", "shots": "numbers of few-shot examples"}
ALIKE |= {"prompt": "prompts", "metric": "metrics"}


def effects(a: Answers, b: Answers, tasks: Sequence[str], margin: float | None) -> pd.DataFrame:
    """Return the effect on every task (none are named: all), and last that on their mean, in points.

    CrowS-Pairs has no part in the mean, unless it is alone: its share of stereotypes is no accuracy. `detectable`
    is the effect that as many questions show in four of five repetitions, and `needed` how many questions so show
    the margin, or without one the effect itself. Where there are choices, there are the shares of the commonest
    place of the likeliest one and of the right one (`majority`).
    """
    tasks = tasks or sorted({*a} | {*b})
    rows = [_of_task(task, a, b, margin) for task in tasks]
    averaged = [row["task"] for row in rows if row["metric"] != CROWS] or tasks
    name = AVERAGE if len(averaged) == len(tasks) else AVERAGE_WITHOUT_CROWS
    table = pd.DataFrame([*rows, _effect(averaged, a, b, margin) | {"task": name, "metric": ""}])
    table.insert(table.columns.get_loc("p") + 1, "Holm", [*holm(table["p"][:-1]), math.nan])
    return table.astype({"needed": "Int64"})


def _of_task(task: str, a: Answers, b: Answers, margin: float | None) -> dict[str, Any]:
    sides = {name: side[task].reset_index() for name, side in (("A", a), ("B", b)) if task in side}
    if len(sides) < 2:
        raise HfpruneError(f"task {task}: {' and '.join({'A', 'B'} - {*sides})} lacks it; choose by --tasks")
    mine, other = sides.values()
    for column, what in ALIKE.items():
        if mine[column].tolist() != other[column].tolist():
            raise HfpruneError(f"task {task}: A and B had other {what}; evaluate both alike")
    row = _effect([task], a, b, margin)
    # Where one choice of several is right.
    if mine["outcome"].isin([0, 1]).all() and mine["loglikelihood"].map(len).min() > 1:
        likeliest = {name: side["loglikelihood"].map(np.argmax) for name, side in sides.items()}
        row |= {f"commonest {name}": 100 * commonest(places) for name, places in likeliest.items()}
        if mine["target"].astype(str).str.isdigit().all():
            row["majority"] = 100 * commonest(mine["target"])
    return row


def _effect(tasks: Sequence[str], a: Answers, b: Answers, margin: float | None) -> dict[str, Any]:
    """Estimate an effect, with two more questions a task, of which each side alone gets one right.

    Without them the interval is too short where few outcomes differ, and a point where none does. A task whose
    outcomes are not 0 or 1 alone goes without.

    Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data", 2012.
    """
    sides = [{task: 100 * side[task]["outcome"] for task in tasks} for side in (a, b)]
    difference = contrast([(-1, {None: sides[0]}), (1, {None: sides[1]})])
    more = {
        task: np.append(x, [[100, -100]], axis=1) if np.isin(x, (-100, 0, 100)).all() else x
        for task, x in difference.tasks.items()
    }
    found, plain = estimate(replace(difference, tasks=more)), estimate(difference)
    goal, levels = margin or abs(plain.value), [np.mean([x.mean() for x in side.values()]) for side in sides]
    row = {"task": tasks[0], "metric": a[tasks[0]]["metric"].iloc[0], "n": plain.n}
    row |= {"A": levels[0], "B": levels[1]}
    low, high = np.clip([found.low, found.high], -100, 100)  # as far as accuracies can be apart
    row |= {"B - A": plain.value, "low": low, "high": high, "p": found.p_value()}
    needed = plain.n * (found.minimum() / goal) ** 2 if goal else math.nan
    return row | {"detectable": found.minimum(), "needed": np.ceil(needed)}


def verdict(table: pd.DataFrame, margin: float | None) -> tuple[list[str], bool | None]:
    """Return what the effects say, and whether B is not inferior: the mean's `low` is above minus the margin.

    Without a margin that is not asked.
    """
    *tasks, mean = table.to_dict("records")
    differ = ", ".join(row["task"] for row in tasks if row["Holm"] < 1 - LEVEL) or "none"
    sure = "a" if mean["p"] < 1 - LEVEL else "no"
    said = [f"There is {sure} significant difference on the mean; by Holm's method, on tasks: {differ}."]
    if few := [row["task"] for row in (*tasks, mean) if math.isnan(row["p"])]:
        said = [*said[len(few) == len(table) :], f"Too few questions for an interval: {', '.join(few)}."]
    if margin is None:
        return said, None
    shown = bool(mean["low"] > -margin)
    rule = f"the low end of the mean's interval must lie above -{margin:g} points"
    return [*said, f"B is {'' if shown else 'not '}shown to be within the margin of A: {rule}."], shown
