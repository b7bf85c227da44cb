"""The cluster, and at the end what was survived on it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.slurm import Cluster

SURVIVED: list[str] = []


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes with two GPUs each, in a folder whose name is short enough for sockets."""
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    started = Cluster(home)
    try:
        started.up()
        yield started
    finally:
        started.down()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def survived() -> list[str]:
    """Lines for the summary at the end."""
    return SURVIVED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not SURVIVED:  # other tests have run
        return
    terminalreporter.section("survived on the cluster")
    for line in SURVIVED:
        terminalreporter.write_line(line)
