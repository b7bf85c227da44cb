"""Every interval of a study whose items are in git follows from them, without the weights, scores and plans."""

import shutil
from collections.abc import Callable
from pathlib import Path

import headline
import pandas as pd
import pytest
import recipe
from command_line import failure, run
from committed import WITH_ITEMS
from smoke import ROOT

from hfprune.analysis.evidence import Evidence
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.study import Study

OF_PLANS_AND_SCORES = ["overlap", "rank_correlation", "near_cut"]


@pytest.mark.parametrize("study", WITH_ITEMS)
def test_comparisons_verdicts_and_losses_follow_from_the_items(study: str, tmp_path: Path) -> None:
    folder = ROOT / "results" / study
    where = ["--study", str(study_file(study)), "--results", str(folder), "--out", str(tmp_path)]
    run("collect", *where, "--partial")
    run("compare", *where)
    tables = ["comparison", "lost", "draws"]
    if (folder / "claims.csv").exists():
        run("claims", *where)
        tables.append("claims")
    for name in tables:
        kept, made = (pd.read_csv(at / f"{name}.csv") for at in (folder, tmp_path))
        if name == "claims":
            kept, made = (table[table["basis"] == "measured"] for table in (kept, made))
        kept, made = (table.drop(columns=OF_PLANS_AND_SCORES, errors="ignore") for table in (kept, made))
        pd.testing.assert_frame_equal(made, kept, rtol=1e-6)


def test_a_study_without_items_is_no_empty_table(tmp_path: Path) -> None:
    # As in a clone where the demo has not been run.
    only_tables = shutil.ignore_patterns("cells")
    demo = shutil.copytree(ROOT / "results/demo", tmp_path / "demo", ignore=only_tables)
    where = ["--study", "demo", "--results", str(demo), "--out", str(tmp_path / "out")]
    assert "no result of demo is there" in failure("collect", *where, "--partial")
    assert not (tmp_path / "out").exists()
    for command in ("compare", "claims"):
        where = [
            "--study",
            "demo",
            "--results",
            str(shutil.copytree(demo, tmp_path / command)),
        ]
        (tmp_path / command / "cells").mkdir()
        before = {path.name: path.read_bytes() for path in (tmp_path / command).glob("*.csv")}
        assert "no result of demo is there" in failure(command, *where)
        assert before == {path.name: path.read_bytes() for path in (tmp_path / command).glob("*.csv")}


NO_EFFECTS = {"recipe", "outcomes", "outcomes-qwen", "draws", "methods", "sensitivity", "families", "domains"}
RANKED = ["recovery", "recovery-30", "recovery-short", "outcomes", "outcomes-qwen"]
# Tables of findings/ that rest on items, and what makes each; the studies after the first lend their draws.
MADE = [
    *((headline.effects, "effects", [study]) for study in WITH_ITEMS if study not in NO_EFFECTS),
    *((headline.ranks, "ranks", [study]) for study in RANKED),
    *((recipe.losses, "losses", [study]) for study in ("recipe", "recipe-confirm")),
    (headline.effects, "effects_recovery", ["headline", "recovery"]),
    (recipe.factors, "factors", ["recipe"]),
]


@pytest.mark.parametrize(
    ("make", "name", "studies"), MADE, ids=[f"{name}-{studies[0]}" for _, name, studies in MADE]
)
def test_tables_of_the_findings_follow_from_the_items(
    make: Callable[..., pd.DataFrame], name: str, studies: list[str], tmp_path: Path
) -> None:
    read = [
        Evidence(load(Study, study_file(study)), study, ROOT / "results" / study, ROOT / "results" / study)
        for study in studies
    ]
    make(*read).to_csv(tmp_path / "made.csv", index=False, float_format="%.5g", lineterminator="\n")
    kept, made = ROOT / "results" / studies[0] / f"{name}.csv", tmp_path / "made.csv"
    pd.testing.assert_frame_equal(pd.read_csv(made), pd.read_csv(kept), rtol=2e-4)
