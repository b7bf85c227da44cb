"""The smoke study, run once for all tests of this folder, and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import ARGUMENTS, PATIENCE, find_chromium
from conftest import made_once
from playwright.sync_api import Browser, sync_playwright
from smoke import make_project, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    def run(folder: Path) -> str:
        folder.mkdir()
        make_project(folder)
        return snakemake(folder)

    return made_once(tmp_path_factory, "smoke", run)


@pytest.fixture
def project(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished project that a test may change; times are kept, as Snakemake goes by them."""
    return Path(shutil.copytree(finished[0], tmp_path / "project", copy_function=shutil.copy2))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=find_chromium(), args=ARGUMENTS, timeout=PATIENCE
        )
        yield started
        started.close()
