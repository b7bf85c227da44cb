"""Tasks of lm-eval, with its own prompts and metrics, local documents and a model that is already loaded."""

import logging
import random
import tempfile
from collections.abc import Iterator, Mapping
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

from hfprune.assets.known_tasks import known_task
from hfprune.assets.stock import stock_yaml
from hfprune.cells import Value
from hfprune.cells.items import mean_value
from hfprune.errors import HfpruneError
from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["HFLM", "draw", "evaluate_task", "offline_tasks"]

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


def evaluate_task(
    model: "LM", manager: TaskManager, name: str, documents: int | None, margin: bool = False
) -> tuple[list[Value], pd.DataFrame]:
    """Score one task zero-shot, with the same settings and seeds as lm-eval's `simple_evaluate`.

    That function warns about every setting that differs from the task's own, asks git about the current folder,
    and lists the machine's packages, which takes longer than a small task.

    Args:
        model: an lm-eval model.
        manager: a task manager that has the task.
        name: the task.
        documents: only this number, a seeded sample that is the same for every model; None: all.
        margin: also the `margin` of each document, where one of its choices is right.

    Returns:
        All metrics, as lm-eval aggregates them, and by document `item` (its index), `target`, the metrics, the
        `loglikelihood` of the choices and whether each is `greedy`.

    Raises:
        HfpruneError: the task has no choices.
    """
    random.seed(0)
    np.random.seed(1234)
    torch.manual_seed(1234)
    loaded = manager.load([name])
    task = loaded["tasks"][name]
    if task.get_config("output_type") == "generate_until":
        raise HfpruneError(f"task {name!r}: its answers are generated; only tasks with choices are scored")
    task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=1234)
    drawn = {name: draw(name, len(task.eval_docs), documents)} if documents else None
    found = evaluate(lm=model, task_dict=loaded, samples=drawn, log_samples=True)
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    values, items = _values(found["results"][name], len(samples)), pd.DataFrame([*map(_item, samples)])
    if margin and _one_right(task, name):
        items["margin"] = [_margin(task, sample) for sample in samples]
        values.append(mean_value("margin", items))
    return values, items


def _values(metrics: Mapping[str, object], n: int) -> list[Value]:
    values = []
    for key, value in metrics.items():
        metric, _, filter = key.partition(",")
        if filter and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = metrics.get(f"{metric}_stderr,{filter}")
            stderr = float(error) if isinstance(error, int | float) else None
            values.append(Value(metric, float(value), stderr, n))
    return values


def _item(sample: Mapping[str, Any]) -> dict[str, object]:
    answers = [response[0] for response in sample["resps"]]
    return {
        "item": sample["doc_id"],
        "target": str(sample["target"]),
        "loglikelihood": [float(value) for value, _ in answers],
        "greedy": [bool(hit) for _, hit in answers],
        **{key: float(sample[key]) for key in sample["metrics"] if isinstance(sample[key], int | float)},
    }


def _one_right(task: Any, name: str) -> bool:
    """Tell whether one of a question's choices is right, and lm-eval itself chooses by their log-likelihoods."""
    chosen = task.OUTPUT_TYPE == "multiple_choice" and not callable(task.config.process_results)
    return chosen and not task.multiple_target and known_task(name).one_right


def _margin(task: Any, sample: Mapping[str, Any]) -> float:
    """Return the log-likelihood of the right choice less that of the best wrong one, in nats.

    Where the task counts by `acc_norm`, they are divided by the choices' lengths in characters, as lm-eval does
    (`ConfigurableTask.process_results`); nats are then those of a character.
    """
    choices = task.doc_to_choice(sample["doc"])
    gold = task.doc_to_text(sample["doc"]) if task.multiple_input else task.doc_to_target(sample["doc"])
    right = choices.index(gold) if isinstance(gold, str) else gold
    lengths = [len(choice) if "acc_norm" in sample["metrics"] else 1 for choice in choices]
    # With mutual information, the unconditional log-likelihoods follow.
    scores = [response[0][0] / length for response, length in zip(sample["resps"], lengths, strict=False)]
    return float(scores[right] - max(score for index, score in enumerate(scores) if index != right))


def draw(task: str, count: int, documents: int | None) -> list[int]:
    """Return the indices, ascending, of a seeded sample of the `count` documents of a task; None: of all."""
    if documents is None or documents >= count:
        return [*range(count)]
    # The first documents of a benchmark may come from one source or be of one length.
    return sorted(random.Random(derive_seed(0, "documents", task)).sample(range(count), documents))
