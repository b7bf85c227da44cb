"""What `make lint` checks, so that a clean test run means a clean tree."""

import re
import subprocess
import sys

import pytest
from smoke import ROOT

LINT = re.search(r"(?m)^lint: setup-dev\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())[1]


@pytest.mark.parametrize("command", re.findall(r"\$\(BIN\)/(.+)", LINT))
def test_tree_is_clean(command: str) -> None:
    subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, check=True)
