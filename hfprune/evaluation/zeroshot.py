"""Zero-shot benchmarks: lm-eval's own tasks, prompts and metrics, with local data."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from hfprune.assets.stock import stock_yaml
from hfprune.results import Value

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager


@contextmanager
def offline_tasks(data: dict[str, tuple[str, Path]]) -> Iterator["TaskManager"]:
    """Yield a task manager with the stock tasks in `data`, which reads their documents from local files.

    Args:
        data: task → (scored split, Arrow file with its documents).
    """
    from lm_eval.tasks import TaskManager

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


def evaluate_task(
    model: "LM", manager: "TaskManager", name: str, documents: int | None
) -> tuple[list[Value], pd.DataFrame]:
    """Score one task zero-shot.

    Args:
        model: an lm-eval model.
        manager: from `offline_tasks`.
        name: the task.
        documents: score a seeded sample of this number of documents; None: all.

    Returns:
        Every metric that the task reports, as lm-eval aggregates it, and one row per document: `item` (its
        index), the metrics, `target`, and the log-likelihood and greedy flag of each choice.
    """
    from hfprune.evaluation.stock import run_task

    found = run_task(model, manager, name, shots=0, documents=documents)
    metrics = found["results"][name]
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    names = [key.removesuffix(",none") for key in metrics if key.endswith(",none") and "_stderr" not in key]
    values = [
        Value(
            metric, float(metrics[f"{metric},none"]), _number(metrics[f"{metric}_stderr,none"]), len(samples)
        )
        for metric in names
    ]
    return values, pd.DataFrame([_item(sample, names) for sample in samples])


def _item(sample: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    responses = [response[0] for response in sample["resps"]]
    return {
        "item": sample["doc_id"],
        **{metric: float(sample[metric]) for metric in metrics},
        "target": str(sample["target"]),
        "loglikelihood": [float(value) for value, _ in responses],
        "greedy": [bool(hit) for _, hit in responses],
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
