"""Every type of causal language model that transformers has: what the list says of it still holds."""

from itertools import chain
from pathlib import Path

import pytest
from architectures import TYPES, outcome, written

from hfprune.models.supported import architectures

LISTED = architectures()


def listed(model_type: str) -> dict:
    """Return what the list holds of one type, in its form."""
    works = {of: kinds for of, kinds in LISTED["works"].items() if of == model_type}
    others = {
        what: {why: [model_type] for why, types in LISTED[what].items() if model_type in types}
        for what in ("refused", "not built")
    }
    return {"works": works} | others


def test_the_list_names_the_types_of_the_installed_transformers() -> None:
    others = [types for what in ("refused", "not built") for types in LISTED[what].values()]
    listed_types = sorted([*LISTED["works"], *chain(*others)])
    assert listed_types == TYPES, "run `python tests/architectures.py`, and read what changed"


@pytest.mark.parametrize(
    "model_type",
    [pytest.param(each, marks=[] if each in LISTED["works"] else pytest.mark.thorough) for each in TYPES],
)
def test_a_type_works_or_is_refused_as_listed(model_type: str, tmp_path: Path) -> None:
    assert written({model_type: outcome(model_type, tmp_path)}) == listed(model_type)
