"""Every effect and verdict follows from what git holds, the packed items among it."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from command_line import failure, run
from committed import COMMITTED, EACH_STUDY, ROOT, results_of

from hfprune.cells import CELL_COLUMNS, KEY
from hfprune.results.averages import levels
from hfprune.results.files import ITEMS
from hfprune.results.reader import Results
from hfprune.study.paths import ANALYSED


@pytest.mark.parametrize("study", EACH_STUDY)
def test_effects_and_verdicts_follow_from_the_items(study: str, tmp_path: Path) -> None:
    folder = results_of(study)
    run("effects", "--results", folder, "--out", tmp_path)
    for name in ANALYSED:
        kept, made = (pd.read_csv(at / name) for at in (folder, tmp_path))
        pd.testing.assert_frame_equal(made, kept, rtol=1e-6)


@pytest.mark.parametrize("study", COMMITTED)
def test_levels_are_those_of_the_values(study: str) -> None:
    data = Results(results_of(study))
    columns = ["value", "stderr", "n", "draws", "sd", "low", "high"]
    by = [name for name in KEY if name != "draw"]
    kept = data.whole[data.whole["draw"].isna()].set_index(by)[columns]
    made = levels(data.tidy[[*KEY, "value", "stderr", "n"]], data.declared).set_index(by)[columns]
    pd.testing.assert_frame_equal(made.sort_index(), kept.sort_index(), rtol=1e-6, check_dtype=False)


@pytest.mark.parametrize("study", COMMITTED)
def test_values_are_the_means_of_their_items(study: str) -> None:
    """Of the measures whose items are in the unit of the value."""
    data = Results(results_of(study))
    by, checked = [*CELL_COLUMNS[1:], "task"], 0
    for declared in data.declared:
        metric, items = declared.metric, data.items(declared.measure)
        here = (data.tidy["measure"] == declared.measure) & (data.tidy["metric"] == metric.name)
        if metric.effect != "ratio" and metric.name in metric.items and here.any():
            found = data.tidy[here].set_index(by)["value"]
            means = items[items["resample"] == 0].groupby(by)[metric.name].mean().reindex(found.index)
            pd.testing.assert_series_equal(means, found, rtol=1e-6, check_names=False, obj=metric.name)
            checked += len(found)
    # Of perplexities and times, values are no means.
    assert checked or study == "cost"


def test_a_study_without_items_is_no_empty_table(tmp_path: Path) -> None:
    # As the demo in a clone where it has not been run.
    demo = Path(shutil.copytree(results_of("accuracy"), tmp_path / "demo"))
    (demo / ITEMS).unlink()
    where = ["--study", "demo", "--results", demo, "--out", tmp_path / "out"]
    assert "no result of demo is there" in failure("collect", *where, "--partial")
    assert not (tmp_path / "out").exists()
    before = {path.name: path.read_bytes() for path in demo.glob("*.csv")}
    assert "no outcomes of items" in failure("effects", "--results", demo)
    assert before == {path.name: path.read_bytes() for path in demo.glob("*.csv")}


@pytest.mark.parametrize("study", COMMITTED)
def test_a_study_is_committed_as_its_file_says(study: str) -> None:
    files = results_of(study) / "study.yaml", ROOT / f"config/studies/{study}.yaml"
    ran, kept = (yaml.safe_load(file.read_text()) for file in files)
    assert ran == kept


@pytest.mark.parametrize("study", COMMITTED)
def test_a_study_was_measured_from_one_unchanged_commit(study: str) -> None:
    commits = {*pd.read_parquet(results_of(study) / "records.parquet")["commit"]}
    assert len(commits) == 1 and re.fullmatch("[0-9a-f]{40}", *commits)
