"""Margins of right answers as the primary outcome: beside accuracy, and without tasks that have none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import PAPER, Study, analysed, effects_of, evidence, gather

from hfprune.cells import DENSE, Value
from hfprune.page.study_results import read_study
from hfprune.report.values import all_values
from hfprune.results.declarations import declare
from hfprune.results.reader import Results

TASKS = {"arc_easy": 0.5, "boolq": 0.6, "crows_pairs_english": 0.6}
N = 80


def measured(folder: Path, *, margin: bool) -> tuple[Study, dict[tuple[str, str], pd.DataFrame]]:
    settings = {"zeroshot": {"tasks": [*TASKS], **({"margin": True} if margin else {})}}
    study = Study(folder, ["entropy", "cross_entropy"], [0.2], draws=[0, 1, 2], tasks=TASKS, more=settings)
    items: dict[tuple[str, str], pd.DataFrame] = {}
    rng = np.random.default_rng(0)
    for method in (DENSE, *study.methods):
        for draw in [0] if method == DENSE else study.draws:
            for task in TASKS:
                column = "pct_stereotype" if "crows" in task else "acc"
                margins = rng.normal(0.3 if method == "entropy" else 0.0, 0.5, N)
                rows = pd.DataFrame({"item": range(N), column: (margins > 0).astype(float)})
                if column == "acc":
                    rows["margin"] = margins
                values = [Value(m, rows[m].mean(), rows[m].sem(), N) for m in rows.columns[1:]]
                ratio = 0.0 if method == DENSE else 0.2
                study.result(method, ratio, "zeroshot", task, *values, items=rows, draw=draw)
                items[f"{method} {draw}", task] = rows
    return study, items


def test_a_margin_is_the_first_outcome_and_accuracy_the_next(tmp_path: Path) -> None:
    study, items = measured(tmp_path / "with", margin=True)
    config = study.config(primary="zeroshot")
    declared = declare(config)
    assert [*declared.outcomes()][:2] == ["margin", "points"]
    assert next(iter(declared.first_outcomes())) == "margin"
    found = effects_of(evidence(config, study.folder)).set_index("outcome")
    with_margin = [task for task in TASKS if "crows" not in task]

    def mean(method: str, column: str, tasks: list[str]) -> float:
        own = [items[f"{method} {draw}", task] for draw in study.draws for task in tasks]
        return float(np.mean([rows[column if column in rows else "pct_stereotype"].mean() for rows in own]))

    by_hand = [
        mean("cross_entropy", column, tasks) - mean("entropy", column, tasks)
        for column, tasks in (("margin", with_margin), ("acc", [*TASKS]))
    ]
    assert found.loc["margin", "value"] == pytest.approx(by_hand[0])
    assert found.loc["points", "value"] == pytest.approx(100 * by_hand[1])
    assert found.loc["margin", "unit"] == "nats" and found.loc["margin", "better"] == "higher"


def test_readers_see_margins_and_accuracies_under_their_own_names(tmp_path: Path) -> None:
    study, items = measured(tmp_path / "with", margin=True)
    out = gather(study.config(primary="zeroshot"), study.folder)
    tables = analysed(out)
    assert "margin of the right answer" in (tables / "effects.md").read_text().lower()
    data = Results(out, PAPER)
    shown = all_values(data.levels, data.declared, ["zeroshot"])
    assert read_study(out, PAPER, tmp_path).headline == ("zeroshot", "margin", "mean")
    dense = shown[shown["method"] == DENSE].set_index(["metric", "task"])["value"]
    rows = [items[f"{DENSE} 0", task] for task in ("arc_easy", "boolq")]
    assert dense["margin", "mean"] == pytest.approx(np.mean([x["margin"].mean() for x in rows]))
    assert dense["average", "arc_easy"] == pytest.approx(rows[0]["acc"].mean())
    assert dense["average", "mean"] == pytest.approx(
        np.mean(
            [
                *(x["acc"].mean() for x in rows),
                items[f"{DENSE} 0", "crows_pairs_english"]["pct_stereotype"].mean(),
            ]
        )
    )


def test_a_study_without_the_setting_has_no_margin(tmp_path: Path) -> None:
    study, _ = measured(tmp_path / "without", margin=False)
    declared = declare(study.config())
    assert next(iter(declared.outcomes())) == "points"
    (measure,) = [x for name, x in study.config().make_measures().items() if name == "zeroshot"]
    assert "margin" not in measure.model_dump(mode="json")
