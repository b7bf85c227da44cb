"""Two models that answered the same questions: the paired effect per task and on their mean."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS, PRIMARY, preferred
from hfprune.cells.items import commonest, one_of_several
from hfprune.comparison.answered import Answers
from hfprune.effects.effect import ALPHA, Effect
from hfprune.errors import HfpruneError
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.statistics.estimates import estimate, holm
from hfprune.statistics.outcomes import contrast
from hfprune.statistics.spread import MIN_DOCUMENTS

# Columns in which the tables of two sides agree.
ALIKE = {"item": "questions", "doc_hash": "questions", "shots": "numbers of few-shot examples"}
ALIKE |= {"prompt": "prompts", "metric": "metrics"}
# What the columns are, by their names in the table.
LEGEND = {
    "metric": f"a task counts by the first of {', '.join(PRIMARY)} that it has. A row of another metric has no "
    "part in the mean, in Holm's correction and in the sentences below",
    "n": "questions",
    "A, B": "accuracies in percent",
    "B − A": "the paired difference in points; a star where it is significant after Holm's correction",
    "p, Holm": "its p-value, and that after the correction for the number of tasks",
    "detectable": "the difference in points that as many questions show in four of five repetitions",
    "needed": "the questions that would so show that B is within the margin, or without a margin the difference "
    "itself, if it stays as large; empty where none would",
    "commonest A, commonest B, majority": "the share in percent of the commonest answer of each model, and of the "
    "commonest right one",
}


def effects(a: Answers, b: Answers, tasks: Sequence[str], margin: float | None) -> pd.DataFrame:
    """Return the effect on every task (none are named: all), and last that on their mean, in points.

    CrowS-Pairs has no part in the mean, unless it is alone: its share of stereotypes is no accuracy. `detectable`
    is the effect that as many questions show in four of five repetitions. `needed` is how many questions so show
    that B is within the margin, or without one the effect itself, if it stays as large as it is; missing where
    none would. Where there are choices, there are the shares of the commonest place of the likeliest one and of
    the right one (`majority`). After the row by which a task `counts` follow those of its other metrics, which
    have no part in the mean and in Holm's correction.
    """
    tasks = tasks or sorted({*a} | {*b})
    counting = [_of_task(task, a, b, margin) for task in tasks]
    averaged = [row["task"] for row in counting if row["metric"] != CROWS] or tasks
    name = AVERAGE if len(averaged) == len(tasks) else AVERAGE_WITHOUT_CROWS
    mean = _effect(averaged, a, b, margin) | {"task": name, "metric": "", "Holm": math.nan, "counts": True}
    rows: list[dict[str, Any]] = []
    for row, corrected in zip(counting, holm([row["p"] for row in counting]), strict=True):
        rows.append(row | {"Holm": corrected, "counts": True})
        rows += _by_other_metrics(row["task"], a, b, margin)
    table = pd.DataFrame([*rows, mean])
    table.insert(table.columns.get_loc("p") + 1, "Holm", table.pop("Holm"))
    return table.astype({"needed": "Int64"})


def shown(table: pd.DataFrame) -> str:
    """Return the table of `effects` as Markdown, with a legend of its columns."""
    rows = [
        Effect(row["B - A"], row["low"], row["high"], "{:+.2f}", holm=row["Holm"])
        for row in table.to_dict("records")
    ]
    place = table.columns.get_loc("B - A")
    found = table.drop(columns=["B - A", "low", "high", "counts"])
    found.insert(place, "B − A (95 % interval)", [*map(str, rows)])
    blank = found.astype(object).where(found.notna(), None)
    text = blank.to_markdown(index=False, tablefmt="github", floatfmt=".3g", missingval="")
    heads = [*found.columns]
    legend = [
        f"- `{names}`: {said}."
        for names, said in LEGEND.items()
        if any(head.startswith(names.split(", ")[0]) for head in heads)
    ]
    return "\n".join([text, "", *legend])


def _of_task(task: str, a: Answers, b: Answers, margin: float | None) -> dict[str, Any]:
    sides = {name: side[task].reset_index() for name, side in (("A", a), ("B", b)) if task in side}
    if len(sides) < 2:
        lacking = "neither A nor B has it" if not sides else f"{min({'A', 'B'} - {*sides})} lacks it"
        raise HfpruneError(f"task {task}: {lacking}; choose by --tasks")
    mine, other = sides.values()
    if len(mine) != len(other):
        counts = f"A answered {len(mine):,} questions and B {len(other):,}"
        raise HfpruneError(f"task {task}: {counts}; evaluate both on the same (lm_eval --limit)")
    for column, what in ALIKE.items():
        if mine[column].tolist() != other[column].tolist():
            raise HfpruneError(f"task {task}: A and B had other {what}; evaluate both alike")
    row = _effect([task], a, b, margin)
    if one_of_several(mine, "outcome").all():
        likeliest = {name: side["loglikelihood"].map(np.argmax) for name, side in sides.items()}
        row |= {f"commonest {name}": 100 * commonest(places) for name, places in likeliest.items()}
        if mine["target"].astype(str).str.isdigit().all():
            row["majority"] = 100 * commonest(mine["target"])
    return row


def _by_other_metrics(task: str, a: Answers, b: Answers, margin: float | None) -> list[dict[str, Any]]:
    """Return the effects by the metrics that both sides have, but do not count."""
    names = preferred({*a[task]} & {*b[task]})
    return [
        _effect([task], a, b, margin, name) | {"metric": name, "Holm": math.nan, "counts": False}
        for name in names
    ]


def _effect(
    tasks: Sequence[str], a: Answers, b: Answers, margin: float | None, column: str = "outcome"
) -> dict[str, Any]:
    sides = [{task: side[task][column] for task in tasks} for side in (a, b)]
    found = estimate(contrast([(-1, {None: sides[0]}), (1, {None: sides[1]})]))
    levels = [100 * np.mean([x.mean() for x in side.values()]) for side in sides]
    value, low, high, least = (100 * x for x in (found.value, found.low, found.high, found.minimum()))
    goal = abs(value) if margin is None else value + margin
    row = {"task": tasks[0], "metric": a[tasks[0]]["metric"].iloc[0], "n": found.n}
    row |= {"A": levels[0], "B": levels[1], "B - A": value, "low": low, "high": high, "p": found.p_value()}
    needed = np.ceil(found.n * (least / goal) ** 2) if goal > 0 else math.nan
    return row | {"detectable": least, "needed": needed}


def conclusions(table: pd.DataFrame, margin: float | None) -> tuple[list[str], bool | None]:
    """Return what the effects say, and whether B is not inferior: the mean's `low` is above minus the margin.

    Without a margin that is not asked.
    """
    *tasks, mean = table[table["counts"]].to_dict("records")
    said = []
    if not math.isnan(mean["p"]):
        found = "significant" if mean["p"] < ALPHA else "no significant"
        said.append(f"A and B have {'a ' * (mean['p'] < ALPHA)}{found} difference on the mean.")
    if known := [row for row in tasks if not math.isnan(row["Holm"])]:
        differ = [row["task"] for row in known if row["Holm"] < ALPHA]
        where = (
            f"They differ significantly on {', '.join(differ)}"
            if differ
            else "No task shows a significant difference"
        )
        number = f"{len(known)} tasks" if len(known) > 1 else "one task"
        said.append(f"{where}, after Holm's correction for {number}.")
    if few := [row["task"] for row in (*tasks, mean) if math.isnan(row["p"])]:
        said.append(f"Fewer than {MIN_DOCUMENTS} questions have no interval: {', '.join(few)}.")
    if margin is None:
        return said, None
    within = bool(mean["low"] > -margin)
    rule = f"the low end of the mean's interval must lie above −{margin:g} points"
    said.append(f"B is {'' if within else 'not '}shown to be within the margin of A: {rule}.")
    if mean["B - A"] <= -margin:
        said.append("More questions would not show it, since the difference itself is not above it.")
    return said, within
