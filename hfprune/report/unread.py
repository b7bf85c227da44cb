"""Answers that read no question: what they get right, and the tasks that a model answers so."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache

import numpy as np
import pandas as pd

from hfprune.analysis.averages import levels, primary_values
from hfprune.analysis.tidy import ITEMS
from hfprune.item_outcomes import commonest
from hfprune.paper.printed import AVERAGE, SAME_CHOICES
from hfprune.report.collected import Collected
from hfprune.report.drawing.marks import GREY
from hfprune.report.style import Look, tasks_in_order
from hfprune.results import DENSE

GUESS, MAJORITY = "guess", "majority answer"
LOOKS = {GUESS: Look("Guess", GREY, "", "-"), MAJORITY: Look("Majority answer", GREY, "", "-.")}
# Keys of the mean of the accuracies over questions of each right answer, and of an average over tasks.
BALANCED = {task: f"{task}, balanced" for task in SAME_CHOICES}
WITHOUT_CONSTANT = "average without constant"
_CELL = ["model", "recovery", "ratio", "method", "task"]


@cache
def answers(data: Collected) -> pd.DataFrame:
    """Return the items of questions of which one choice is right, with the place of the `answer`.

    The right answers are those of the method `MAJORITY`, where items number them.
    """
    there = (data.folder / ITEMS).exists()
    items = data.kept(data.items(data.declared.first("zeroshot"))) if there else pd.DataFrame()
    if "loglikelihood" not in items or "acc" not in items:
        return pd.DataFrame(columns=[*_CELL, "seed", "target", "acc", "answer"])
    items = items[items["acc"].isin([0, 1]) & (items["loglikelihood"].map(len) > 1)]
    items = items.assign(answer=items["loglikelihood"].map(np.argmax).astype(str))
    known = items[(items["method"] == DENSE) & items["target"].str.isdigit()]
    return pd.concat([known.assign(method=MAJORITY, answer=known["target"]), items])


def shares(found: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the commonest of the `answers`, in percent, by cell, task and seed."""
    return (100 * found.groupby([*_CELL, "seed"])["answer"].agg(commonest)).rename("share").reset_index()


def balanced(found: pd.DataFrame) -> pd.DataFrame:
    """Return the balanced accuracy of tasks whose questions have the same choices, in percent, with its `key`."""
    some = found[found["task"].isin(BALANCED) & (found["method"] != MAJORITY)]
    by_answer = 100 * some.groupby([*_CELL, "seed", "target"])["acc"].mean()
    rows = by_answer.groupby(_CELL).mean().rename("value").reset_index()
    return rows.assign(key=rows.pop("task").map(BALANCED))


def constant(data: Collected, of: pd.DataFrame) -> dict[str, list[str]]:
    """Return by model the tasks to which a cell gives one answer more often than the study's `constant`."""
    beyond = of[(of["share"] > 100 * data.study.constant) & (of["method"] != MAJORITY)]
    models = sorted({*of["model"]}) if len(beyond) else []
    return {model: sorted({*beyond["task"][beyond["model"] == model]}) for model in models}


def averages(
    data: Collected, same: Mapping[str, list[str]], left_out: Collection[str]
) -> Iterator[pd.DataFrame]:
    """Yield the levels of a model's averages without its tasks in `same`, and those `left_out`."""
    rows = data.results[data.results["measure"] == data.declared.first("zeroshot")]
    for model, tasks in same.items():
        kept = rows[(rows["model"] == model) & ~rows["task"].isin([*tasks, *left_out])]
        found = levels(kept, data.declared) if len(kept) else data.levels[:0]
        yield found[found["task"] == AVERAGE].assign(task=WITHOUT_CONSTANT)


def unread(
    data: Collected, of: pd.DataFrame, same: Mapping[str, list[str]], left_out: Collection[str] = ()
) -> pd.DataFrame:
    """Return what is right without reading, in percent, by model, method (`LOOKS`) and `key`, of these `shares`.

    Keys are the tasks and their averages. The majority is a guess where questions have different choices.
    """
    scores = primary_values(data.levels, data.declared.first("zeroshot"))
    tasks = tasks_in_order({*scores["task"]} - {*left_out})
    chance = 100 * pd.Series({name: task.chance for name, task in tasks.items()}, dtype=float)
    right = of[(of["method"] == MAJORITY) & of["task"].isin(SAME_CHOICES)]
    rows = []
    for model in sorted({*scores["model"]}):
        known, commoner = {GUESS: chance}, right[right["model"] == model].groupby("task")["share"].mean()
        if len(commoner):
            known[MAJORITY] = commoner.reindex(chance.index).fillna(chance)
        for method, values in known.items():
            by_key = {**values, AVERAGE: values.mean(skipna=False)}
            by_key |= {BALANCED[task]: chance[task] for task in BALANCED if task in chance}
            if same:
                by_key[WITHOUT_CONSTANT] = values.drop(same[model], errors="ignore").mean(skipna=False)
            rows += [(model, method, key, value) for key, value in by_key.items()]
    found = pd.DataFrame(rows, columns=["model", "method", "key", "value"])
    return found.dropna(subset="value").assign(ratio=0.0, recovery="none")


def notes(data: Collected, same: Mapping[str, list[str]]) -> list[str]:
    """Return what these numbers are."""
    share = f"{100 * data.study.constant:.3g} %"
    return [
        "Guess, Majority answer: right without reading questions; in BoolQ by its commoner answer. Bal.: the mean "
        "of the accuracies where yes and where no is right.",
        *(
            f"w/o constant: of {model} without {', '.join(tasks) or 'none'}, to which a model gives one answer "
            f"in over {share}."
            for model, tasks in same.items()
        ),
    ]
