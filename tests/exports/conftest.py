"""Dense models of the families, as transformers 5 saves them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from families import build, split_as


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's dense model, as transformers 5 saves it."""
    root = tmp_path_factory.mktemp("dense")

    def folder(family: str) -> Path:
        if not (root / family).exists():
            build(family).save_pretrained(root / family)
            split_as(family).save_pretrained(root / family)
        return root / family

    return folder
