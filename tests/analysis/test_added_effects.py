"""A statistical test of one's own: a file beside ours, and its name in a study."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from smoke import ROOT
from synthetic import PAPER, Study, evidence, gather

import hfprune.effects.added
from hfprune.cells import DENSE, Value
from hfprune.effects.added.by_document import ByDocument
from hfprune.effects.added.training import Training
from hfprune.effects.standard import rows_of
from hfprune.errors import HfpruneError
from hfprune.report.table_files import write_tables
from hfprune.results.effect_rows import read_effects
from hfprune.settings import validate
from hfprune.stages.effects import MakeEffects
from hfprune.study.added_effects import ADDED, AddedEffects
from hfprune.study.study import Study as Config

DOCS = (ROOT / "docs/add-a-test.md").read_text()
[SIGNS] = re.findall(r"`hfprune/effects/added/signs\.py`:\n\n```python\n(.*?)```", DOCS, re.DOTALL)


def forget() -> None:
    importlib.invalidate_caches()
    for known in (ADDED.sources, ADDED.outlines, ADDED.load):
        known.cache_clear()
    sys.modules.pop("hfprune.effects.added.signs", None)


@pytest.fixture
def signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/signs.py").write_text(SIGNS)
    path = [*hfprune.effects.added.__path__, str(tmp_path / "own")]
    monkeypatch.setattr(hfprune.effects.added, "__path__", path)
    forget()
    yield
    monkeypatch.undo()
    forget()


def test_the_documented_test_joins_the_effects_and_their_table(signs: None, tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "cross_entropy", "magnitude"], ratios=[0.2])
    losses = {DENSE: [3.0] * 8, "entropy": [4.0] * 8, "magnitude": [3.5] * 2 + [5.0] * 6}
    losses["cross_entropy"] = [3.5] * 8
    for method, of_documents in losses.items():
        # Two blocks a document, of which one may be the other way round.
        own = [loss + apart for loss in of_documents for apart in (-0.1, 0.1)]
        own[1] += 0.6 * (method == "magnitude")
        items = pd.DataFrame({"item": range(16), "document": np.repeat(range(8), 2), "nll": own})
        study.result(
            method, 0.2 * (method != DENSE), "perplexity", "text", Value("perplexity", 9.0), items=items
        )
    asked = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)[0])
    gather(validate(Config, study.config().model_dump(mode="json") | asked, "study"), tmp_path)
    MakeEffects(results=tmp_path, claims=PAPER / "claims.yaml").run()
    rows = read_effects(tmp_path / "effects.csv").query("question == 'signs'").set_index("method")
    assert rows["value"].to_dict() == {"cross_entropy": 1, "magnitude": 0.25}
    assert {*rows["n"]} == {8} and {*rows["neutral"]} == {0.5}
    # Of eight signs alike, by arithmetic; Holm's method takes the smaller of two twice.
    assert rows.loc["cross_entropy", ["p", "holm"]].tolist() == [2 / 2**8, 4 / 2**8]
    assert rows.loc["magnitude", "p"] == pytest.approx(2 * (1 + 8 + 28) / 2**8)
    write_tables(tmp_path, PAPER, tmp_path / "tables", ["added"])
    text = (tmp_path / "tables/added.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if "signs" in line
    ]
    said = {line[2]: line[5:] for line in lines}
    assert said["Cross-entropy"] == ["1.00 (0.63 to 1.00)*", "0.5", "items", "8"]
    assert said["Magnitude"][0] == "0.25 (0.03 to 0.65)"
    assert {line[3] for line in lines} == {"Entropy"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trainin", "effects: unknown 'trainin'; did you mean 'training'?"),
        ("by_document", "needs the measure output_entropy"),
        ("steps", "steps needs `chain`, a list of three or more methods"),
        ("calibrations", "needs more than one text under `calibrations`"),
    ],
)
def test_what_is_unknown_or_lacks_its_measure_is_refused_before_the_first_job(
    name: str, message: str
) -> None:
    study = {
        "models": ["m"],
        "methods": ["entropy"],
        "ratios": [0.2],
        "calibrations": {"text": {"corpus": "text", "sequences": 4, "length": 16}},
        "measures": {"perplexity": {"corpus": "text", "sequences": 8, "length": 16}},
    }
    with pytest.raises(HfpruneError, match=message.replace("?", r"\\?")):
        validate(Config, study | {"effects": name}, "study")


def test_effects_without_a_test_or_rows_say_so(tmp_path: Path) -> None:
    class Neither(AddedEffects):
        question = "neither"

    study = Study(tmp_path, methods=["entropy", "magnitude"], ratios=[0.2])
    for method in study.methods:
        items = pd.DataFrame({"item": range(8), "nll": [4.0] * 8})
        study.result(method, 0.2, "perplexity", "text", Value("perplexity", 9.0), items=items)
    with pytest.raises(HfpruneError, match="Neither must define test or rows"):
        [*rows_of(Neither(), evidence(study.config(), tmp_path))]


ENTROPY = {"corpus": "c4-sample", "sequences": 8, "length": 32}


@pytest.mark.parametrize("analysis", [ByDocument, Training])
def test_a_run_that_has_not_ended_lacks_rows_and_nothing_else(
    analysis: type[AddedEffects], tmp_path: Path
) -> None:
    study = Study(tmp_path, methods=["entropy", "magnitude"], ratios=[0.2], more={"output_entropy": ENTROPY})
    for method in study.methods:
        items = pd.DataFrame({"item": range(8), "nll": [4.0] * 8})
        study.result(method, 0.2, "perplexity", "text", Value("perplexity", 9.0), items=items)
    rows = analysis().rows(evidence(study.config(), tmp_path))
    assert rows is not None and not [*rows]
