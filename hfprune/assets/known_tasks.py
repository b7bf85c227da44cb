"""What is known of each task (`tasks.yaml`): its short name, its questions, and what a guess gets right."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

# The metric of CrowS-Pairs: a share of stereotypes, which the paper averages as if it were an accuracy.
CROWS = "pct_stereotype"
# The metric by which the measure `tasks` represents any task of lm-eval.
SCORE = "score"
PRIMARY = (CROWS, "acc_norm", "acc")  # the metrics of a zero-shot task, the preferred first


def preferred(metrics: Iterable[str]) -> list[str]:
    """Return those of a task's metrics that may represent it, the preferred one first.

    The rule is that of the evaluation script of SDMPrune, the paper's predecessor; the paper states none.
    """
    present = {*metrics}
    return [metric for metric in PRIMARY if metric in present]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of lm-eval; one that `tasks.yaml` lacks has the mean size of the others, and no more is known."""

    short: str
    capability: str = "Other"
    documents: int
    tokens: int
    """Tokens that a model reads of one document, on average."""
    choices: int | None = None
    same_choices: bool = False
    majority: float | None = None
    """The percentage of the commoner of two right answers."""
    one_right: bool = True
    """Whether exactly one choice of a question is right."""
    written: int = 0
    """Tokens of an answer that is generated, on average."""

    @property
    def chance(self) -> float | None:
        """The share of questions in which a guess takes the answer that counts; None where it is not known."""
        return 1 / self.choices if self.choices else None


@cache
def known_tasks() -> dict[str, Task]:
    """Return the known tasks, in the order of the paper's tables."""
    rows = yaml.safe_load(Path(__file__).with_name("tasks.yaml").read_text())
    return {name: Task(**row) for name, row in rows.items()}


def known_task(name: str) -> Task:
    """Return what is known of a task; `name` may also be the folder of its documents."""
    tasks, name = known_tasks(), Path(name).name
    if name in tasks:
        return tasks[name]
    documents = round(sum(task.documents for task in tasks.values()) / len(tasks))
    tokens = round(sum(task.tokens for task in tasks.values()) / len(tasks))
    return Task(short=name, documents=documents, tokens=tokens)


def with_same_choices() -> list[str]:
    """Return the known tasks whose questions all have the same choices."""
    return [name for name, task in known_tasks().items() if task.same_choices]


def with_one_right(tasks: Iterable[str]) -> list[str]:
    """Return those of the tasks whose questions have exactly one right choice."""
    return [name for name in tasks if known_task(name).one_right]


def tasks_in_order(names: Iterable[str]) -> dict[str, Task]:
    """Return these tasks by name: those of `tasks.yaml` in its order, then the others sorted by name."""
    present, listed = {*names}, known_tasks()
    ordered = [name for name in listed if name in present] + sorted(present - listed.keys())
    return {name: known_task(name) for name in ordered}
