"""Zero-shot benchmarks: lm-eval's own tasks, prompts and metrics, with local data."""

from __future__ import annotations

from typing import Any

from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import BATCH_TOKENS, BatchTokens, Metric, Outcome, TaskMeasure


class Zeroshot(TaskMeasure):
    """Every metric that lm-eval reports for a task, zero-shot, as it aggregates it.

    One item per document: its index, the metrics, `target`, and the log-likelihood and greedy flag of each
    choice. A task counts by the first of `pct_stereotype`, `acc_norm` and `acc` that it has (SDMPrune's
    evaluation script).
    """

    batch_tokens: BatchTokens = BATCH_TOKENS

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

    def run(self, subject: Subject) -> Outcome:
        """Score one task; the model is prepared once for all of them."""
        from hfprune.assets.tasks import task_file
        from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks

        folder = subject.asset("tasks", *self.tasks)
        lm = subject.lm(batch_tokens=self.batch_tokens, add_bos_token=self.add_bos)
        with offline_tasks({folder.name: task_file(folder)}) as manager:
            return Outcome(*evaluate_task(lm, manager, folder.name, self.documents))
