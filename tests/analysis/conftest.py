"""Synthetic studies for the tests of the analysis."""

from pathlib import Path

import pytest
from analysis.synthetic import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """An empty study to write single results into."""
    return Study(tmp_path / "study")


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole collected study, shared: add files if need be, change none."""
    return Study(tmp_path_factory.mktemp("whole")).write().collect()
