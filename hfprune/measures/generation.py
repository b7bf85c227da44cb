"""Generation: tasks that a model answers in free text, through stock lm-eval."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import DECODED, Metric, Outcome, TaskMeasure
from hfprune.settings import nearest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lm_eval.tasks import TaskManager


# Metrics of lm-eval's tasks of this type, as `outcomes` names them; other metrics are in the tidy table only.
METRICS = {
    "exact_match": "Exact match",
    "exact_match_strict_match": "Exact match, strict",
    "exact_match_flexible_extract": "Exact match, flexible",
    "pass_at_1": "Pass@1",
    "acc": "Accuracy",
    "em": "Exact match",
    "f1": "F1",
    "contains": "Contains",
}


class Generation(TaskMeasure):
    """Every metric that lm-eval reports for a task of type `generate_until`, answered through its own `HFLM`.

    A metric has lm-eval's name, with `_at_` for `@`, followed by the filter's name if a task has several
    filters (`exact_match_strict_match`). One item per document: its index, the metrics, `target` and
    `response`.

    No measurement contacts the hub, so a task's documents must be local. By default tasks come from
    the catalogue (zero-shot only, since an asset holds the scored split alone). With `data: hub` they are
    lm-eval's own, and their documents come from the hub client's cache. For `gsm8k` (data set
    `openai/gsm8k`), `lm_eval --model dummy --tasks gsm8k --limit 1` fills the cache. `humaneval` runs the
    model's code, so it also needs `run_code: true`, the environment variable `HF_ALLOW_CODE_EVAL=1` and the
    metric `code_eval` in that cache. Any other `data` is a folder of task YAMLs, whose `dataset_path` may be
    local files.
    """

    tasks: list[str] = Field(min_length=1, description="tasks of lm-eval or of the folder `data`")
    data: str = Field(
        default="catalogue",
        min_length=1,
        description="where tasks come from: catalogue, fetched assets; hub, lm-eval's own with documents in the "
        "hub's cache; else a folder of task YAMLs",
    )
    shots: NonNegativeInt | None = Field(
        default=None, description="solved examples before each document; null: the task's own number"
    )
    batch_size: PositiveInt = Field(default=1, description="documents per batch")
    max_new_tokens: PositiveInt | None = Field(
        default=None, description="limit of an answer; null: the task's own limit"
    )
    run_code: bool = Field(default=False, description="let tasks run the code that the model writes")

    @model_validator(mode="after")
    def _examples_are_there(self) -> Generation:
        if self.shots and self.data == "catalogue":
            raise ValueError(
                f"shots: {self.shots} examples need a split that fetched tasks lack; set `data: hub` or shots: 0"
            )
        return self

    def metrics(self) -> list[Metric]:
        """Return the common metrics of lm-eval's tasks of this type, exact match first."""
        percent: dict[str, Any] = {"unit": "%", "shown": "{:.1f}", "scale": 100, "better": "higher"}
        # The first stands for the measure, whichever of them a task has.
        first, *others = METRICS
        rest = [Metric(name, METRICS[name], items=(name,), **percent) for name in others]
        return [Metric(first, METRICS[first], items=(*METRICS,), **percent), *rest]

    def assets(self) -> list[str]:
        """Return the tasks' documents, if they come from the catalogue."""
        return super().assets() if self.data == "catalogue" else []

    def files(self) -> list[Path]:
        """Return the files of the user's own folder of tasks."""
        folder = Path(self.data)
        if self.data in ("catalogue", "hub") or not folder.is_dir():
            return []
        return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")

    def tokens(self) -> float:
        """Return the tokens of prompts of 512, and what decoding counts: 256 tokens an answer without a limit."""
        documents = len(self.tasks) * (self.documents or 1000)
        return documents * (512 + DECODED * (self.max_new_tokens or 256) / self.batch_size)

    def run(self, subject: Subject) -> Outcome:
        """Let the model answer the documents of one task; stock `HFLM` is prepared once for all of them.

        Raises:
            HfpruneError: the task is unknown or of another type, its documents are missing, or lm-eval fails.
        """
        from hfprune.evaluation.tasks import HFLM, outcomes, run_task

        (given,) = self.tasks
        task = Path(given).name
        lm = subject.as_lm(HFLM, backend="causal", batch_size=self.batch_size, add_bos_token=self.add_bos)
        with self._manager(subject, given, task) as manager:
            try:
                found = run_task(
                    lm,
                    manager,
                    task,
                    shots=0 if self.data == "catalogue" else self.shots,
                    documents=self.documents,
                    generation={"max_gen_toks": self.max_new_tokens} if self.max_new_tokens else None,
                    unsafe=self.run_code,
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                reason = " ".join(str(error).split())[:300]
                raise HfpruneError(
                    f"task {task!r}: lm-eval cannot run it ({type(error).__name__}: {reason}); commands are "
                    f"offline, so fill the hub's cache first: lm_eval --model dummy --tasks {task} --limit 1"
                ) from error
        kind = found["configs"][task]["output_type"]
        if kind != "generate_until":
            raise HfpruneError(
                f"task {task!r}: is of type {kind}, not generate_until; use the measure zeroshot"
            )
        return Outcome(*outcomes(found, task))

    def _manager(self, subject: Subject, given: str, task: str) -> AbstractContextManager[TaskManager]:
        """Return a task manager that has the task."""
        from lm_eval.tasks import TaskManager

        from hfprune.assets.stock import stock_yaml
        from hfprune.assets.tasks import task_file
        from hfprune.evaluation.tasks import offline_tasks

        if self.data == "catalogue":
            return offline_tasks({task: task_file(subject.asset("tasks", given))})
        folder = stock_yaml(task).parent if self.data == "hub" else Path(self.data)
        if not folder.is_dir():
            raise HfpruneError(
                f"{folder}: no such folder of task YAMLs; give `data` a folder, hub or catalogue"
            )
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if task not in manager.task_index:
            raise HfpruneError(
                f"{folder}: no YAML defines the task {task!r}{nearest(task, manager.all_tasks)}"
            )
        return nullcontext(manager)
