"""lm-eval's own definition of a task, found without its scan of all tasks (about ten seconds)."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hfprune.assets.stock_names import stock_yamls
from hfprune.errors import HfpruneError, nearest


def stock_yaml(task: str) -> Path:
    """Return the absolute path of lm-eval's own YAML for a task, or a group of tasks.

    Raises:
        HfpruneError: lm-eval has no such task; names the nearest.
    """
    yamls = stock_yamls()
    if task not in yamls:
        hint = nearest(task, yamls, otherwise="; `lm-eval ls tasks` lists them")
        raise HfpruneError(f"task {task!r}: lm-eval has no task of that name{hint}")
    return yamls[task]


def members(name: str) -> dict[str, dict[str, Any]]:
    """Return lm-eval's configurations of a task, or of a group and all tasks and groups in it, by their names.

    Functions that they name are not loaded.

    Raises:
        HfpruneError: lm-eval has no such task, or one of them is a class, or is defined within the group alone.
    """
    own, configs = _index(stock_yaml(name).parent), dict[str, dict[str, Any]]()
    waiting = [name]
    while waiting:
        word = waiting.pop(0)
        # A group may also have tasks of other folders.
        entry = own.get(word) or _index(stock_yaml(word).parent)[word]
        if entry.kind.name == "TAG":
            waiting += sorted(entry.tags)
            continue
        if entry.kind.name == "PY_TASK":
            raise HfpruneError(
                f"task {word!r}: lm-eval has it as a class, whose documents are not known; leave it out"
            )
        configs[word] = entry.cfg
        if entry.kind.name == "GROUP":
            waiting += _words(entry.cfg["task"])
    return configs


def _words(parts: list[Any]) -> Iterator[str]:
    """Yield the names of tasks, groups and tags in a group's list."""
    for part in parts:
        inner = part.get("task") or part["group"] if isinstance(part, dict) else part
        yield from _words(inner) if isinstance(inner, list) else [inner]


def scored_split(task: str) -> str:
    """Return the split on which lm-eval scores `task`: the test split, else the validation split.

    Raises:
        HfpruneError: lm-eval has no such task, or it names neither split.
    """
    config = members(task)[task]
    split = config.get("test_split") or config.get("validation_split")
    if split is None:
        raise HfpruneError(f"task {task!r}: lm-eval scores neither a test nor a validation split of it")
    return str(split)


def examples_split(config: dict[str, Any]) -> str:
    """Return the split that lm-eval draws a task's examples from; "" where its configuration lists them."""
    fewshot = config.get("fewshot_config") or {}
    if split := fewshot.get("split") or config.get("fewshot_split"):
        return str(split)
    if fewshot.get("samples"):
        return ""
    return str(config.get("training_split") or config.get("validation_split") or config["test_split"])


def default_shots(name: str) -> float:
    """Return the number of examples in lm-eval's prompt of a task, or its mean over the tasks of a group."""
    tasks = [config for config in members(name).values() if not isinstance(config["task"], list)]
    return sum(config.get("num_fewshot") or 0 for config in tasks) / len(tasks)


@cache
def _index(folder: Path) -> dict[str, Any]:
    """Return lm-eval's index of a folder: tasks, groups and tags by their names."""
    from lm_eval.tasks import TaskManager

    return dict(TaskManager(include_path=folder, include_defaults=False).task_index)
