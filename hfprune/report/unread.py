"""Answers that read no question: how often they are right, and the tasks that a model answers so."""

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from hfprune.assets.known_tasks import CROWS, known_task, tasks_in_order, with_same_choices
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.report.drawing.marks import GREY
from hfprune.report.style import Look
from hfprune.results.answers import MAJORITY
from hfprune.results.averages import levels, primary_values
from hfprune.results.reader import Results
from hfprune.rounding import percent

GUESS = "guess"
LOOKS = {GUESS: Look("Guess", GREY, "", "-"), MAJORITY: Look("Majority answer", GREY, "", "-.")}
# Keys of the mean over right answers of the accuracy on their questions, and of an average over tasks.
BALANCED = {task: f"{task}, balanced" for task in with_same_choices()}
WITHOUT_CONSTANT = "average without constant"
CONSTANT = 0.9  # share of a task's questions above which a commonest answer counts as constant
Tasks = Mapping[str, Collection[str]]  # by model
_CELL = ["model", "calibrated", "recovery", "ratio", "method", "task"]


def balanced(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the balanced accuracy of tasks whose questions have the same choices, in percent, with its `key`."""
    rated = answers[answers["task"].isin(BALANCED)].dropna(subset="balanced")
    rows = (100 * rated.groupby(_CELL)["balanced"].mean()).rename("value").reset_index()
    return rows.assign(key=rows.pop("task").map(BALANCED))


def constant(data: Results, answers: pd.DataFrame) -> Tasks:
    """Return by model the tasks to which a cell gives one answer, over all draws, in a share above `CONSTANT`."""
    means = answers[answers["method"] != MAJORITY].groupby(_CELL)["share"].mean().reset_index()
    beyond = means[means["share"] > CONSTANT]
    models = sorted({*data.levels["model"]}) if len(beyond) else []
    return {model: sorted({*beyond["task"][beyond["model"] == model]}) for model in models}


def averages(data: Results, same: Tasks, left_out: Collection[str]) -> Iterator[pd.DataFrame]:
    """Yield the levels of each model's averages without its tasks in `same`, and those `left_out`."""
    rows = data.results[data.results["measure"] == data.declared.first("zeroshot")]
    for model, tasks in same.items():
        kept = rows[(rows["model"] == model) & ~rows["task"].isin([*tasks, *left_out])]
        means = data.with_calibrated(levels(kept, data.declared)) if len(kept) else data.levels[:0]
        yield means[means["task"] == AVERAGE].assign(task=WITHOUT_CONSTANT)


def unread(data: Results, answers: pd.DataFrame, same: Tasks, left_out: Collection[str] = ()) -> pd.DataFrame:
    """Return the accuracy without reading, in percent, by model, method (`LOOKS`) and task or average (`key`)."""
    scores = primary_values(data.levels, data.declared.first("zeroshot"))
    tasks = tasks_in_order({*scores["task"]} - {*left_out})
    chance = 100 * pd.Series({name: tasks[name].chance for name in tasks}, dtype=float)
    same_choices = answers[(answers["method"] == MAJORITY) & answers["task"].isin(with_same_choices())]
    stereotypes = {*scores["task"][scores["metric"] == CROWS]}
    crows: Tasks = {AVERAGE_WITHOUT_CROWS: stereotypes} if stereotypes else {}
    balance, rows = {BALANCED[task]: chance[task] for task in BALANCED if task in chance}, []
    for model in sorted({*scores["model"]}):
        by_method, own = {GUESS: chance}, same_choices[same_choices["model"] == model]
        if len(own):
            right = 100 * own.groupby("task")["share"].mean()
            by_method[MAJORITY] = right.reindex(chance.index).fillna(chance).clip(lower=chance)
        without = {WITHOUT_CONSTANT: same[model]} if model in same else {}
        out: Tasks = {AVERAGE: [], **crows, **without}
        for method, values in by_method.items():
            means = {key: values.drop(some, errors="ignore").mean(skipna=False) for key, some in out.items()}
            rows += [(model, method, key, value) for key, value in {**values, **means, **balance}.items()]
    table = pd.DataFrame(rows, columns=["model", "method", "key", "value"])
    return table.dropna(subset="value").assign(ratio=0.0, recovery="none")


def notes(shown: pd.DataFrame, same: Tasks) -> list[str]:
    """Return notes that explain those of these numbers that a table shows."""
    short = {name: [task.short for task in tasks_in_order(tasks).values()] for name, tasks in same.items()}
    out = [
        f"{', '.join(tasks)} of {name}"
        for name, tasks in short.items()
        if tasks and name in {*shown["model"]}
    ]
    same_choices = ", ".join(known_task(name).short for name in with_same_choices())
    meanings = {
        GUESS: "Guess: right without reading a question.",
        MAJORITY: f"Majority answer: a guess, but in {same_choices} the commonest right answer.",
        **dict.fromkeys(
            BALANCED.values(), "Bal.: the mean of the accuracies where yes and where no is right."
        ),
        WITHOUT_CONSTANT: f"w/o constant: without tasks to which a model of the study, dense or pruned, gives "
        f"the same answer in over {percent(CONSTANT)} of the questions: {'; '.join(out)}.",
    }
    return [note for name, note in meanings.items() if name in {*shown["method"], *shown["key"]}]
