"""Two models that answered the same questions: the paired effect per task and on their mean."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import CROWS, PRIMARY, SCORE, preferred
from hfprune.cells.items import commonest, one_right_of_several
from hfprune.comparison.answered import Answers
from hfprune.comparison.before_after import TASK
from hfprune.comparison.rows import effect_row
from hfprune.effects.questions import PAIR
from hfprune.errors import HfpruneError
from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.results.declarations import Declarations
from hfprune.results.effect_rows import EffectRow, corrected
from hfprune.statistics.estimates import ALPHA, estimate
from hfprune.statistics.outcomes import contrast
from hfprune.statistics.spread import MIN_DOCUMENTS

TASKS = "the tasks"  # the family of those that count
# Columns in which the tables of two sides agree.
ALIKE = {"item": "questions", "doc_hash": "questions", "shots": "numbers of few-shot examples"}
ALIKE |= {"prompt": "prompts", "metric": "metrics"}
# The meanings of columns, by their names in the table.
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
# The meanings of fields in JSON, whose rows are those of the table of effects, and `needed`.
OF_ROWS = {
    "base": "the accuracy of A in percent",
    "value, low, high": "B − A, the paired difference in points, and its 95 % interval",
    "p, holm": LEGEND["p, Holm"],
    "family": "empty for what has no part in that correction; the mean, which has none, has no task, either",
} | {name: LEGEND[name] for name in ("metric", "n", "detectable", "needed")}
# Task → the shares of the commonest answer by A, by B, and of the right answers if these are numbered, in percent.
Commonest = dict[str, list[float | None]]


def effects(a: Answers, b: Answers, tasks: Sequence[str]) -> list[EffectRow]:
    """Return the effect on every task (all, if none is named), and last that on their mean, in points.

    CrowS-Pairs has no part in the mean, unless it is the only task, since its share of stereotypes is no accuracy.
    The row by which a task counts is followed by those of its other metrics, which are in no family and not in the
    mean.

    Raises:
        HfpruneError: a side lacks a task, or was asked other questions.
    """
    tasks, rows = tasks or sorted({*a} | {*b}), list[EffectRow]()
    for task in tasks:
        _require_same_questions(task, a, b)
        metric = a[task]["metric"].iloc[0]
        others = preferred({*a[task]} & {*b[task]})
        rows.append(_effect([task], a, b, metric)._replace(family=TASKS))
        rows += [_effect([task], a, b, name, name) for name in others]
    averaged = [row.task for row in rows if row.family and row.metric != CROWS] or tasks
    name = AVERAGE if len(averaged) == len(tasks) else AVERAGE_WITHOUT_CROWS
    mean = _effect(averaged, a, b, AVERAGE)._replace(outcome=name, task="", tasks=len(averaged))
    return corrected([*rows, mean])


def _effect(tasks: Sequence[str], a: Answers, b: Answers, metric: str, column: str = "outcome") -> EffectRow:
    """Return the effect by one metric, whose outcomes are in this column."""
    sides = [{task: side[task][column] for task in tasks} for side in (a, b)]
    levels = [100 * float(np.mean([outcomes.mean() for outcomes in side.values()])) for side in sides]
    difference = estimate(contrast([(-1, {None: sides[0]}), (1, {None: sides[1]})]))
    # A metric from 0 to 1 is a score, whatever its name.
    declared = Declarations(()).find(TASK, CROWS if metric == CROWS else SCORE)
    about = {"question": PAIR, "against": "A", "task": tasks[0], "metric": metric, "form": "{:+.2f}"}
    paired = difference if difference.has_interval else None
    return effect_row(declared, "B", (levels[0], levels[1]), paired, n=difference.n, **about)


def _require_same_questions(task: str, a: Answers, b: Answers) -> None:
    """Require that both sides were asked the same questions of a task in the same way."""
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


def commonest_answers(a: Answers, b: Answers, rows: Sequence[EffectRow]) -> Commonest:
    """Return how common the commonest answers are, where one choice of several is right."""
    shares: Commonest = {}
    for task in (row.task for row in rows if row.family):
        mine, other = a[task], b[task]
        if one_right_of_several(mine, "outcome").all():
            given = [100 * commonest(side["loglikelihood"].map(np.argmax)) for side in (mine, other)]
            numbered = mine["target"].astype(str).str.isdigit().all()
            shares[task] = [*given, 100 * commonest(mine["target"]) if numbered else None]
    return shares


def needed(row: EffectRow, margin: float | None) -> int | None:
    """Return how many questions would show that B is within the margin or, without a margin, the effect itself.

    They would do so in four of five repetitions, if the effect stays as large as it is; None if no number would.
    """
    distance = abs(row.value) if margin is None else row.value + margin
    questions = row.n * (row.detectable / distance) ** 2 if distance > 0 else math.nan
    return None if math.isnan(questions) else math.ceil(questions)


def shown(rows: Sequence[EffectRow], answers: Commonest, margin: float | None) -> str:
    """Return the effects as a table in Markdown, with a legend of its columns."""
    columns: dict[str, list[str | float | None]] = {
        "task": [row.task or row.outcome for row in rows],
        "metric": [row.metric if row.task else "" for row in rows],
        "n": [row.n for row in rows],
        "A": [row.base for row in rows],
        "B": [row.own for row in rows],
        "B − A (95 % interval)": [str(row.effect) for row in rows],
        "p": [row.p for row in rows],
        "Holm": [row.holm for row in rows],
        "detectable": [row.detectable for row in rows],
        "needed": [needed(row, margin) for row in rows],
    }
    shares = [answers.get(row.task if row.family else "", [None] * 3) for row in rows]
    for place, name in enumerate(("commonest A", "commonest B", "majority")):
        if any(of_task[place] for of_task in shares):
            columns[name] = [of_task[place] for of_task in shares]
    table = pd.DataFrame(columns, dtype=object)
    table = table.where(table.notna(), None)
    text = table.to_markdown(index=False, tablefmt="github", floatfmt=".3g", missingval="")
    legend = [
        f"- `{names}`: {meaning}."
        for names, meaning in LEGEND.items()
        if any(head.startswith(names.split(", ")[0]) for head in columns)
    ]
    return "\n".join([text, "", *legend])


def as_json(rows: Sequence[EffectRow], answers: Commonest, margin: float | None) -> dict[str, object]:
    """Return the effects, each with what is `needed`, a legend, and the commonest answers, as JSON values."""
    whole = [row._asdict() | {"needed": needed(row, margin)} for row in rows]
    effects = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in whole]
    return {"legend": OF_ROWS, "effects": effects, "commonest": answers}


def conclusions(rows: Sequence[EffectRow], margin: float | None) -> tuple[list[str], bool | None]:
    """Return what the effects say, and whether B is not inferior: the mean's `low` is above minus the margin.

    Without a margin, the second is None.
    """
    *_, mean = rows
    sentences, tasks = [], [row for row in rows if row.family]
    if not math.isnan(mean.p):
        difference = "a significant difference" if mean.p < ALPHA else "no significant difference"
        sentences.append(f"A and B have {difference} on the mean.")
    if decided := [row for row in tasks if row.effect.has_interval]:
        differ = ", ".join(row.task for row in decided if row.effect.sure)
        where = f"They differ significantly on {differ}" if differ else "No single task is shown to differ"
        number = f"{len(decided)} tasks" if len(decided) > 1 else "one task"
        sentences.append(f"{where}, after Holm's correction for {number}.")
    if few := [row.task or row.outcome for row in (*tasks, mean) if not row.effect.has_interval]:
        sentences.append(f"Fewer than {MIN_DOCUMENTS} questions have no interval: {', '.join(few)}.")
    if margin is None:
        return sentences, None
    within = mean.low > -margin
    rule = f"the low end of the mean's interval must lie above −{margin:g} points"
    sentences.append(f"B is {'' if within else 'not '}shown to be within the margin of A: {rule}.")
    if mean.value <= -margin:
        sentences.append("More questions would not show it, since the difference itself is not above it.")
    return sentences, within
