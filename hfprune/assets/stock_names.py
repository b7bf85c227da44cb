"""The names of all tasks and groups of lm-eval, from its YAML files, without importing what they need."""

import re
from functools import cache
from pathlib import Path


def is_stock(task: str) -> bool:
    """Tell whether lm-eval is installed and has a task or group of this name."""
    try:
        return task in stock_yamls()
    except ModuleNotFoundError:
        return False


@cache
def stock_yamls() -> dict[str, Path]:
    """Map every task and group of lm-eval in YAML to its file; the first in path order wins, as there."""
    import lm_eval

    # A group lists its tasks from the next line on, so that its `task:` does not match.
    name = re.compile(rb"""^"?(?:task|group)"?:[ \t]*["']?([^\s"'\[#]+)""", re.MULTILINE)
    yamls: dict[str, Path] = {}
    for path in sorted((Path(lm_eval.__file__).parent / "tasks").rglob("*.yaml"), key=Path.as_posix):
        if match := name.search(path.read_bytes()):
            yamls.setdefault(match[1].decode(), path)
    return yamls
