"""The command line, called in this process."""

import json
import sys
from pathlib import Path

import pytest

from hfprune.commands import main


def run(*arguments: object) -> None:
    """Call the command line in this process."""
    command, *rest = map(str, arguments)
    saved, sys.argv = sys.argv, ["hfprune", command, *rest]
    try:
        main()
    finally:
        sys.argv = saved


def failure(*arguments: object) -> str:
    """Return the one line with which a command ends."""
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert isinstance(end.value.code, str), "exit code 1 and a message"
    assert "\n" not in end.value.code
    return end.value.code


def score(work: Path) -> tuple[object, ...]:
    """Return a call that scores the model in `work` by entropy; the file of the scores is to be added."""
    blocks = ("--blocks", work / "blocks.safetensors")
    return "score", "--model", work / "mine", *blocks, "--criterion", "entropy"


def recover(work: Path, **options: object) -> tuple[object, ...]:
    """Return a call that recovers the plan in `work` within seconds; the folder of the adapter is to be added."""
    few = {"rank": 4, "batch": 2, "length": 320, "max_steps": 3} | options
    plan = ("--plan", work / "plan.safetensors", "--instructions", work / "instructions/pairs")
    return "recover", "--model", work / "mine", *plan, "--options", json.dumps(few)
