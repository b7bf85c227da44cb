"""The figure and the table of docs/add-a-figure.md, as they stand there: as files here, and in a package."""

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from synthetic import PAPER

import hfprune.report.figures
import hfprune.report.tables
from hfprune.report.drawing.figure_files import write_figures
from hfprune.report.publication import FIGURES, TABLES, caption, publication_names
from hfprune.report.table_files import write_tables

DOCS = (Path(__file__).parents[2] / "docs" / "add-a-figure.md").read_text()
CODE = dict(re.findall(r"`hfprune/report/(\w+)/scoring_time\.py`:\n\n```python\n(.*?)```", DOCS, re.DOTALL))


def forget() -> None:
    importlib.invalidate_caches()
    for registry in (FIGURES, TABLES):
        for known in (registry.sources, registry.outlines, registry.load):
            known.cache_clear()
    for name in [name for name in sys.modules if "scoring_time" in name or name.startswith("my_package")]:
        del sys.modules[name]


@pytest.fixture(params=["files", "package"])
def added(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The code of the page, where a user may put it."""
    if request.param == "files":
        for package in (hfprune.report.figures, hfprune.report.tables):
            kind = package.__name__.rpartition(".")[2]
            (tmp_path / kind).mkdir()
            (tmp_path / kind / "scoring_time.py").write_text(CODE[kind])
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / kind)])
    else:
        (tmp_path / "my_package").mkdir()
        for kind, code in CODE.items():
            (tmp_path / "my_package" / f"{kind.removesuffix('s')}.py").write_text(code)
        lines = DOCS.partition("## In your own package")[2].splitlines()
        toml = tomllib.loads("\n".join(line.strip() for line in lines if line.startswith("    ")))
        info = tmp_path / "my_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
        parts = toml["project"]["entry-points"].items()
        texts = [f"[{group}]\n" + "\n".join(map(" = ".join, own.items())) for group, own in parts]
        (info / "entry_points.txt").write_text("\n\n".join(texts) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield
    monkeypatch.undo()
    forget()


def test_the_documented_figure_and_table_are_found_and_made(
    added: None, collected: Path, tmp_path: Path
) -> None:
    kinds = ("figures", "tables")
    assert [publication_names(kind)[-1] for kind in kinds] == ["scoring_time"] * 2
    assert all(
        caption(kind, "scoring_time").startswith("Seconds of scoring by each method") for kind in kinds
    )
    assert write_figures(collected, PAPER, tmp_path, ["scoring_time"], ["svg"]) == {}
    assert write_tables(collected, PAPER, tmp_path, ["scoring_time"]) == {}
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "scoring_time.svg").read_text())
    # The synthetic study scores by entropy in 30 seconds, by the next in 40, and by the last in 50.
    names = [text for text in texts if text.endswith(", tiny-llama")]
    assert names == ["Entropy, tiny-llama", "Cross-entropy, tiny-llama", "Magnitude, tiny-llama"]
    assert "Seconds of scoring" in texts
    values = pd.read_csv(tmp_path / "scoring_time.csv").set_index("method")["value"]
    assert values.to_dict() == {"entropy": 30, "cross_entropy": 40, "magnitude": 50}
    assert "Cross-entropy" in (tmp_path / "scoring_time.md").read_text()
