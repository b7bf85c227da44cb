"""lm-eval's own definition of a task, found without its scan of all tasks (about ten seconds)."""

import re
from functools import cache
from pathlib import Path

from hfprune.errors import HfpruneError, nearest


def stock_yaml(task: str) -> Path:
    """Return the absolute path of lm-eval's own YAML for `task`.

    Raises:
        HfpruneError: lm-eval has no such task; names the nearest.
    """
    known = _yamls()
    if task not in known:
        hint = nearest(task, known, otherwise="; `lm-eval ls tasks` lists them")
        raise HfpruneError(f"task {task!r}: lm-eval has no task of that name{hint}")
    return known[task]


def scored_split(task: str) -> str:
    """Return the split on which lm-eval scores `task`: the test split, else the validation split.

    Raises:
        HfpruneError: lm-eval has no such task, or it names neither split.
    """
    from lm_eval.tasks import TaskManager

    folder = stock_yaml(task).parent
    config = TaskManager(include_path=folder, include_defaults=False).task_index[task].cfg or {}
    split = config.get("test_split") or config.get("validation_split")
    if split is None:
        raise HfpruneError(f"task {task!r}: lm-eval scores neither a test nor a validation split of it")
    return split


@cache
def _yamls() -> dict[str, Path]:
    """Map every task that lm-eval defines in YAML to its file; the first in path order wins, as in lm-eval."""
    import lm_eval

    name = re.compile(rb"""^"?task"?:[ \t]*["']?([^\s"'\[#]+)""", re.MULTILINE)
    found: dict[str, Path] = {}
    for path in sorted((Path(lm_eval.__file__).parent / "tasks").rglob("*.yaml"), key=Path.as_posix):
        if match := name.search(path.read_bytes()):
            found.setdefault(match[1].decode(), path)
    return found
