"""What `make lint` checks, so that a clean test run means a clean tree."""

import subprocess
import sys

import pytest
from smoke import ROOT


@pytest.mark.parametrize(
    "command",
    [
        "ruff check .",
        "ruff format --check .",
        "snakefmt --check Snakefile workflow",
        "mypy",
        "snakemake --lint",
    ],
)
def test_tree_is_clean(command: str) -> None:
    tool, *arguments = command.split()
    run = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
