"""Zero-shot benchmarks: lm-eval's own tasks, prompts and metrics, with local data."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from hfprune.assets.known_tasks import CROWS, PRIMARY
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import Metric, Outcome, TaskMeasure

MARGIN = Metric(
    "margin",
    "Margin of the right answer",
    unit="nats",
    explained="by how much the right answer is likelier than the most likely wrong one, in logarithms",
    better="higher",
    items=("margin",),
    one_right=True,
)


class Zeroshot(TaskMeasure):
    """Every metric that lm-eval reports for a task, zero-shot, as it aggregates it.

    One item per document: its index, the metrics, `target`, and the log-likelihood and greedy flag of each
    choice. A task counts by the first of `pct_stereotype`, `acc_norm` and `acc` that it has (SDMPrune's
    evaluation script). The margin of a task is that of the scores by which this metric chooses: sums over a
    choice's tokens, or for `acc_norm` these over its characters.
    """

    # Left out of records where it is false, so that results from before this setting are not made again.
    margin: bool = Field(
        default=False,
        exclude_if=lambda margin: not margin,
        description="first metric: log-likelihood of the right choice less that of the best wrong one",
    )

    def metrics(self) -> list[Metric]:
        """Return the average over tasks, which represents the measure unless a margin does, and those of tasks."""
        share = partial(Metric, unit="%", shown="{:.1f}", scale=100)
        return [
            *([MARGIN] if self.margin else []),
            share("average", "Accuracy", better="higher", items=PRIMARY),
            share("acc", "Accuracy", better="higher", items=("acc",)),
            share("acc_norm", "Normalised accuracy", better="higher", items=("acc_norm",)),
            share(CROWS, "Stereotypes", items=(CROWS,)),
        ]

    def run(self, subject: Subject) -> Outcome:
        """Score one task; the model is prepared once for all of them.

        Raises:
            HfpruneError: answers are generated, or it is a group of tasks.
        """
        from hfprune.assets.stock import members
        from hfprune.assets.tasks import task_files
        from hfprune.evaluation.lm_tasks import evaluate_task, offline_tasks

        folder = subject.asset("tasks", *self.tasks)
        parts = members(folder.name)
        if len(parts) > 1:
            raise HfpruneError(f"task {folder.name!r}: is a group; take the measure `tasks` for it")
        if any(config.get("output_type") == "generate_until" for config in parts.values()):
            raise HfpruneError(
                f"task {folder.name!r}: its answers are generated; take the measure `tasks` for it"
            )
        lm = subject.lm(batch_tokens=self.batch_tokens, add_bos_token=self.add_bos)
        with offline_tasks(task_files(folder)) as manager:
            return Outcome(*evaluate_task(lm, manager, folder.name, self.documents, self.margin))
