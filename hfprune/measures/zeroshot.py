"""Zero-shot benchmarks: lm-eval's own tasks, prompts and metrics, with local data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PositiveInt

from hfprune.evaluation.measured_model import Subject
from hfprune.measures import BATCH_TOKENS, BatchTokens, Measure, Metric, Outcome

if TYPE_CHECKING:
    from hfprune.evaluation.work import Case, Work


class Zeroshot(Measure):
    """Every metric that lm-eval reports for a task, zero-shot, as it aggregates it.

    One item per document: its index, the metrics, `target`, and the log-likelihood and greedy flag of each
    choice. A task counts by the first of `pct_stereotype`, `acc_norm` and `acc` that it has (SDMPrune's
    evaluation script).
    """

    per_task = True

    tasks: list[str] = Field(
        min_length=1, description="tasks of lm-eval: names in config/assets.yaml, or folders of fetched ones"
    )
    documents: PositiveInt | None = Field(
        default=None, description="documents of each task, a seeded sample; null: all"
    )
    batch_tokens: BatchTokens = BATCH_TOKENS
    add_bos: bool = Field(default=True, description="prepend BOS (lm-eval's add_bos_token)")

    def metrics(self) -> list[Metric]:
        """Return the average over tasks, which represents the measure, and the metrics of single tasks."""
        percent: dict[str, Any] = {"unit": "%", "shown": "{:.1f}", "scale": 100}
        return [
            Metric(
                "average", "Accuracy", better="higher", items=("pct_stereotype", "acc_norm", "acc"), **percent
            ),
            Metric("acc", "Accuracy", better="higher", items=("acc",), **percent),
            Metric("acc_norm", "Normalised accuracy", better="higher", items=("acc_norm",), **percent),
            Metric("pct_stereotype", "Stereotypes", items=("pct_stereotype",), **percent),
        ]

    def by_task(self) -> dict[str, Self]:
        """Return the tasks one by one."""
        return {Path(task).name: self.model_copy(update={"tasks": [task]}) for task in self.tasks}

    def assets(self) -> list[str]:
        """Return the tasks' documents."""
        return [f"tasks/{task}" for task in self.tasks]

    def work(self, case: Case) -> Work:
        """Return the work of reading the documents of all tasks."""
        from hfprune.assets.text_sizes import reading

        total = case.load() * 0
        for task in self.tasks:
            text = reading("tasks", task)
            documents = min(self.documents or text.documents, text.documents)
            size = (documents, text.mean_tokens(documents), text.positions)
            total += case.read(*size, batch_tokens=self.batch_tokens, pairs=text.paired)
        return total

    def run(self, subject: Subject) -> Outcome:
        """Score one task; the model is prepared once for all of them."""
        from hfprune.assets.tasks import task_file
        from hfprune.evaluation.lm import PrefixTreeLM
        from hfprune.evaluation.zeroshot import evaluate_task, offline_tasks

        folder = subject.asset("tasks", *self.tasks)
        lm = PrefixTreeLM.of(subject, batch_tokens=self.batch_tokens, add_bos_token=self.add_bos)
        with offline_tasks({folder.name: task_file(folder)}) as manager:
            return Outcome(*evaluate_task(lm, manager, folder.name, self.documents))
