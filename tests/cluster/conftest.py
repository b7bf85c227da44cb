"""The cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.slurm import Cluster


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
