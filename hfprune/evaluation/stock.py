"""Stock lm-eval on a model that is already loaded, without warnings about what this suite does on purpose."""

import logging
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from hfprune.seeds import derive_seed

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

__all__ = ["HFLM", "draw", "run_task"]

# Of `HFLM`, about the model that it gets loaded instead of by name.
EXPECTED = ("`pretrained` model kwarg is not of type `str`", "Passed an already-initialized model")
logging.getLogger("lm_eval.models.huggingface").addFilter(
    lambda record: not record.getMessage().startswith(EXPECTED)
)


def run_task(
    model: "LM",
    manager: "TaskManager",
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


def draw(task: str, count: int, documents: int | None) -> list[int]:
    """Return the indices, ascending, of a seeded sample of the `count` documents of a task; None: of all."""
    if documents is None or documents >= count:
        return [*range(count)]
    # The first documents of a benchmark may come from one source or be of one length.
    return sorted(random.Random(derive_seed(0, "documents", task)).sample(range(count), documents))
