"""The measure of docs/add-a-measure.md, in a file beside ours, stands in the report of `hfprune prune`."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hfprune
import hfprune.measures
from hfprune.measurement import MEASURES

DOCS = (Path(__file__).parents[2] / "docs/add-a-measure.md").read_text()
[CODE] = re.findall(r"`hfprune/measures/guesses\.py`:\n\n```python\n(.*?)```", DOCS, re.DOTALL)


def forget() -> None:
    importlib.invalidate_caches()
    for known in (MEASURES.sources, MEASURES.outlines, MEASURES.load):
        known.cache_clear()
    sys.modules.pop("hfprune.measures.guesses", None)


@pytest.fixture
def guesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/guesses.py").write_text(CODE)
    monkeypatch.setattr(hfprune.measures, "__path__", [*hfprune.measures.__path__, str(tmp_path / "own")])
    forget()
    yield
    monkeypatch.undo()
    forget()


def test_a_measure_of_the_users_own_is_compared_without_a_line_elsewhere(
    guesses: None, project: Path, tmp_path: Path
) -> None:
    places = {"catalogue": project / "assets.yaml", "resources": project / "resources"}
    options = {"recipe": "paper", "sequences": 4, "length": 32, "dtype": "float32", "quick": True}
    rows = hfprune.prune(project / "models/mine", 0.15, tmp_path / "out", **options, **places)
    [own] = [row for row in rows if row.measure == "guesses"]
    assert own.label == "tokens guessed on c4-reading, %"
    assert 0 <= own.own <= 100
    assert own.effect.has_interval, "its items are compared in pairs"
    assert own.label in (tmp_path / "out/report.html").read_text()
    assert own.label in (tmp_path / "out/model/README.md").read_text()
