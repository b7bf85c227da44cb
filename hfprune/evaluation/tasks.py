"""Tasks of lm-eval, with its own prompts and metrics, local documents and a model that is already loaded."""

import logging
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from hfprune.assets.stock import stock_yaml
from hfprune.results import Value
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["HFLM", "draw", "evaluate_task", "offline_tasks", "outcomes", "run_task"]

# Of `HFLM`, about the model that it gets loaded instead of by name.
EXPECTED = ("`pretrained` model kwarg is not of type `str`", "Passed an already-initialized model")
logging.getLogger("lm_eval.models.huggingface").addFilter(
    lambda record: not record.getMessage().startswith(EXPECTED)
)


@contextmanager
def offline_tasks(data: dict[str, tuple[str, Path]]) -> Iterator[TaskManager]:
    """Yield a task manager with the stock tasks in `data`, which reads their documents from local files.

    Args:
        data: task → (scored split, Arrow file with its documents).
    """
    with tempfile.TemporaryDirectory(prefix="hfprune-tasks-") as folder:
        for name, (split, file) in data.items():
            override = {
                "include": str(stock_yaml(name)),
                "task": name,
                "dataset_path": "arrow",
                "dataset_name": None,
                "dataset_kwargs": {"data_files": {split: str(file.resolve())}},
                # The file has no other splits; zero-shot needs none.
                "training_split": None,
                "validation_split": split if split == "validation" else None,
                "test_split": split if split == "test" else None,
                "fewshot_split": None,
            }
            (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(override))
        yield TaskManager(include_path=folder, include_defaults=False)


def run_task(
    model: "LM",
    manager: TaskManager,
    name: str,
    *,
    shots: int | None,
    documents: int | None,
    generation: dict[str, Any] | None = None,
    unsafe: bool = False,
) -> dict[str, Any]:
    """Run one task with the same settings and seeds as lm-eval's `simple_evaluate`.

    That function warns about every setting that differs from the task's own, asks git about the current folder,
    and lists the machine's packages, which takes longer than a small task.

    Args:
        model: an lm-eval model.
        manager: a task manager that has the task.
        name: the task.
        shots: solved examples before each document; None: as the task has it. A task set to none keeps none.
        documents: only this number, a seeded sample that is the same for every model; None: all.
        generation: replaces these of the task's settings for generation.
        unsafe: the task may run code that the model wrote.

    Returns:
        `results`, `samples` and `configs` by task, as lm-eval gives them.
    """
    random.seed(0)
    np.random.seed(1234)
    torch.manual_seed(1234)
    loaded = manager.load([name])
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if own is None or (own and shots is not None):
            task.set_config(key="num_fewshot", value=shots or 0)
        if generation:
            task.set_config(key="generation_kwargs", value=generation, update=True)
        task.set_fewshot_seed(seed=1234)
    drawn = {task: draw(task, len(found.eval_docs), documents) for task, found in loaded["tasks"].items()}
    return evaluate(
        lm=model,
        task_dict=loaded,
        samples=drawn if documents else None,
        log_samples=True,
        confirm_run_unsafe_code=unsafe,
    )


def outcomes(found: dict[str, Any], task: str) -> tuple[list[Value], pd.DataFrame]:
    """Read a task's results: all metrics, as lm-eval aggregates them, and one row per document.

    A metric has lm-eval's name, with `_at_` for `@`, followed by the filter's name if the task has several.

    Args:
        found: from `run_task`.
        task: its name.

    Returns:
        The values, and by document `item` (its index), `target`, the metrics, and `response` or, of a task with
        choices, their `loglikelihood` and whether each is `greedy`.
    """
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    several = len({sample["filter"] for sample in samples}) > 1

    def name(metric: str, filter: str) -> str:
        return (f"{metric}_{filter}" if several else metric).replace("@", "_at_").replace("-", "_")

    rows: dict[int, dict[str, Any]] = {}
    for sample in samples:
        about = {"item": sample["doc_id"], "target": str(sample["target"]), **_answer(sample)}
        row = rows.setdefault(sample["doc_id"], about)
        for metric in sample["metrics"]:
            if isinstance(sample[metric], int | float):
                row[name(metric, sample["filter"])] = float(sample[metric])
    values, metrics = [], found["results"][task]
    for key, value in metrics.items():
        metric, _, filter = key.partition(",")
        if filter and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = metrics.get(f"{metric}_stderr,{filter}")
            stderr = float(error) if isinstance(error, int | float) else None
            values.append(Value(name(metric, filter), float(value), stderr, len(rows)))
    return values, pd.DataFrame([*rows.values()])


def _answer(sample: dict[str, Any]) -> dict[str, Any]:
    first = [response[0] for response in sample["resps"]]
    if isinstance(first[0], str):
        return {"response": first[0]}
    return {"loglikelihood": [float(value) for value, _ in first], "greedy": [bool(hit) for _, hit in first]}


def evaluate_task(
    model: "LM", manager: TaskManager, name: str, documents: int | None
) -> tuple[list[Value], pd.DataFrame]:
    """Score one task zero-shot; see `run_task` and `outcomes`."""
    return outcomes(run_task(model, manager, name, shots=0, documents=documents), name)


def draw(task: str, count: int, documents: int | None) -> list[int]:
    """Return the indices, ascending, of a seeded sample of the `count` documents of a task; None: of all."""
    if documents is None or documents >= count:
        return [*range(count)]
    # The first documents of a benchmark may come from one source or be of one length.
    return sorted(random.Random(derive_seed(0, "documents", task)).sample(range(count), documents))
