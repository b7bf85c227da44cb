"""The measure `tasks` in a study: paired over tasks with choices and with written answers, and beside a guess."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import Study, effects_of, evidence

from hfprune.cells import DENSE, Value
from hfprune.comparison.answered import read_measured
from hfprune.comparison.two_results import commonest_answers, effects
from hfprune.errors import HfpruneError
from hfprune.results.declarations import declare

TASKS = ["arc_easy", "gsm8k_cot"]
N = 40


def items_of(task: str, right: np.ndarray) -> pd.DataFrame:
    """Return what the measure keeps: every choice's log-likelihood, or the answer and a metric for each filter."""
    rows = pd.DataFrame({"item": range(N), "target": ["0"] * 30 + ["1"] * 10, "score": right})
    if task == "arc_easy":
        chosen = rows["target"].astype(int) ^ (1 - right.astype(int))
        return rows.assign(acc=right, loglikelihood=[[-1.0, -2.0] if not c else [-2.0, -1.0] for c in chosen])
    return rows.assign(answer="So it is 7.", **{"exact_match,strict": right, "exact_match,flexible": 1.0})


def test_tasks_are_paired_in_a_study(tmp_path: Path) -> None:
    settings = {"tasks": {"tasks": TASKS, "shots": 5}}
    study = Study(
        tmp_path, ["entropy", "cross_entropy"], [0.2], draws=[0, 1, 2], tasks=["boolq"], more=settings
    )
    rng, means = np.random.default_rng(1), dict[str, list[float]]()
    for method in (DENSE, *study.methods):
        for draw in [0] if method == DENSE else study.draws:
            for task in TASKS:
                right = (rng.random(N) < (0.7 if method == "entropy" else 0.4)).astype(float)
                rows, ratio = items_of(task, right), 0.0 if method == DENSE else 0.2
                names = [name for name in rows if name == "score" or name.startswith(("acc", "exact"))]
                values = [Value(name, rows[name].mean(), rows[name].sem(), N) for name in names]
                study.result(method, ratio, "tasks", task, *values, items=rows, draw=draw)
                means.setdefault(method, []).append(right.mean())
    config = study.config()
    assert "score" in declare(config).outcomes()
    found = evidence(config, study.folder)
    effect = effects_of(found).set_index("outcome").loc["score"]
    by_hand = 100 * (np.mean(means["cross_entropy"]) - np.mean(means["entropy"]))
    assert (effect["value"], effect["unit"]) == (pytest.approx(by_hand), "points")
    levels = found.results.levels.set_index(["measure", "method", "metric", "task"])
    dense = levels.loc[("tasks", DENSE, "score", "gsm8k_cot")]
    assert dense["value"] - dense["low"] != pytest.approx(dense["high"] - dense["value"]), "Wilson's"


def test_written_answers_are_compared_by_their_score(tmp_path: Path) -> None:
    right = {"A": np.arange(N) % 2.0, "B": np.ones(N)}
    for side, outcomes in right.items():
        (tmp_path / side).mkdir()
        for task in TASKS:
            items_of(task, outcomes).to_parquet(tmp_path / side / f"{task}.parquet")
    a, b = (read_measured(tmp_path / side, TASKS) for side in right)
    rows = effects(a, b, [])
    by_task = {row.task: row for row in rows if row.family}
    written = by_task["gsm8k_cot"]
    assert (written.metric, written.base, written.own, written.value) == ("score", 50, 100, 50)
    assert (written.measure, written.label) == ("tasks", "Score") and by_task["arc_easy"].metric == "acc"
    shares = commonest_answers(a, b, rows)
    assert shares["arc_easy"][2] == 75 and "gsm8k_cot" not in shares
    pd.DataFrame({"item": [0], "target": [""]}).to_parquet(tmp_path / "A/wikitext.parquet")
    with pytest.raises(HfpruneError, match=r"^task wikitext: has no metric of which more is better"):
        read_measured(tmp_path / "A", ["wikitext"])
