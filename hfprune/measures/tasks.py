"""Tasks of lm-eval as people report them: any of them, with examples, in a chat template, or answered in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt

from hfprune.assets.known_tasks import CROWS, SCORE, known_task
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import Metric, Outcome, TaskMeasure

# Tokens that a model could read in the time of writing one, in a batch of questions.
WRITTEN = 8


class Tasks(TaskMeasure):
    """Every metric that lm-eval reports for tasks and groups, by its own prompts, filters and aggregation.

    The `score` of a task, which represents it, is its first metric of which more is better and whose outcomes are
    from 0 to 1: `acc_norm` or `acc` where it has them, else the first of its own, by its first filter.

    One item per document: its index, `target`, the metrics, by filter, the `score`, and the log-likelihood and
    greedy flag of each choice, or the generated `answer`.
    """

    shots: NonNegativeInt | None = Field(
        default=None, description="examples before each question; null: as many as the task says"
    )
    chat: bool = Field(default=False, description="ask in the model's chat template, with examples as turns")

    def metrics(self) -> list[Metric]:
        """Return the score, and what CrowS-Pairs has for one; lm-eval's own metrics stand under their names."""
        return [
            Metric(
                SCORE,
                "Score",
                unit="%",
                explained="Score: the share of a task's questions that are answered right, as lm-eval counts it.",
                words=("answers best", "better", "worse"),
                better="higher",
                shown="{:.1f}",
                items=(SCORE,),
                scale=100,
            ),
            Metric(CROWS, "Stereotypes", unit="%", shown="{:.1f}", scale=100),
        ]

    def tokens(self) -> float:
        """Return the tokens of the documents of all tasks and of their examples, with those that are written."""
        from hfprune.assets.stock import default_shots

        tokens = 0.0
        for name in self.tasks:
            task = known_task(name)
            shots = default_shots(Path(name).name) if self.shots is None else self.shots
            documents = min(self.documents or task.documents, task.documents)
            tokens += documents * (task.tokens * (1 + shots) + WRITTEN * task.written)
        return tokens

    def run(self, subject: Subject) -> Outcome:
        """Score one task or group; the model is prepared once for all of them."""
        from hfprune.assets.tasks import task_files
        from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks

        folder = subject.asset("tasks", *self.tasks)
        lm = subject.lm(batch_tokens=self.batch_tokens, add_bos_token=self.add_bos)
        with offline_tasks(task_files(folder), folder.name) as manager:
            asked: dict[str, Any] = {"shots": self.shots, "chat": self.chat, "score": True}
            return Outcome(*evaluate_task(lm, manager, folder.name, self.documents, **asked))
