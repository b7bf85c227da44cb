"""The command line, called in this process."""

import json
import resource
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hfprune.commands import main

# Calls in the folder of `tests/commands/conftest.py`, whose last word is to be added.
SCORE = "score --model mine --blocks blocks.safetensors --criterion entropy --out"
EXPORT = "export --model mine --plan plan.safetensors --out"


def run(command: str, *words: object) -> None:
    saved, sys.argv = sys.argv, ["hfprune", *shlex.split(command), *map(str, words)]
    try:
        main()
    finally:
        sys.argv = saved


def failure(command: str, *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        run(command, *words)
    assert isinstance(end.value.code, str), "exit code 1 and a message"
    assert "\n" not in end.value.code
    return end.value.code


def killed(*_words: object, **_settings: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Make every write beyond this size of a file fail, as on a full disk: Python ignores the signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def recover(plan: str = "--plan plan.safetensors", **options: object) -> str:
    """Return a call that recovers a pruned model within seconds; the folder of the adapter is to be added."""
    few = json.dumps({"rank": 4, "batch": 2, "length": 320, "max_steps": 3} | options)
    return f"recover --model mine {plan} --instructions instructions/pairs --options '{few}' --out"
