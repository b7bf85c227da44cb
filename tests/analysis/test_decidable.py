"""What a study can decide, from the spread in an earlier one."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from synthetic import PAPER, Study

from hfprune.analysis.decidable import decidable
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.verdicts import evaluate
from hfprune.assets.text_sizes import reading
from hfprune.paper.claims import Paper
from hfprune.results import DENSE

CLAIM = "entropy-above-cross-entropy"
TASKS = {"boolq": 0.6, "piqa": 0.6}
RIGHT = {"entropy": [1, 0, 1, 1, 0, 1, 1, 1, 0, 1], "cross_entropy": [1, 1, 0, 1, 0, 0, 1, 1, 0, 0]}


@pytest.fixture(scope="module")
def paper() -> Paper:
    found = Paper.read(PAPER / "claims.yaml")
    return Paper(found.models, [claim for claim in found.claims if claim.id == CLAIM], found.numbers)


def earlier(folder: Path, *, vary: bool) -> tuple[Study, Evidence]:
    """Three draws with ten documents of each of two tasks; without `vary` they all have the same outcomes."""
    zeroshot = {"zeroshot": {"tasks": [*TASKS], "documents": 10}}
    study = Study(folder, ratios=[0.2], seeds=[0, 1, 2], tasks=TASKS, methods=[*RIGHT], more=zeroshot)
    for task in TASKS:
        study.outcomes(DENSE, 0.0, f"zeroshot/{task}", [1.0] * 10)
        for method, outcomes in RIGHT.items():
            for seed in study.seeds:
                moved = np.roll(outcomes, seed * vary * (method == "entropy"))
                study.outcomes(method, 0.2, f"zeroshot/{task}", [*moved], seed=seed)
    study.collect()
    return study, Evidence(study.config(), "test", folder, folder)


def test_a_study_as_large_has_the_same_interval(paper: Paper, tmp_path: Path) -> None:
    study, evidence = earlier(tmp_path, vary=True)
    (row,) = decidable(paper, study.config(), evidence)
    found = evaluate(paper, evidence)[0].iloc[0]
    half = max(found["high"] - found["effect"], found["effect"] - found["low"])
    assert row.half_width == pytest.approx(half)
    assert row.minimum_detectable_effect == pytest.approx(found["minimum_detectable_effect"])
    assert (row.documents, row.draws, row.published) == (20, "3", "0.5")
    assert row.decides == "larger effects only"


def test_all_documents_by_hand(paper: Paper, tmp_path: Path) -> None:
    study, evidence = earlier(tmp_path, vary=False)
    study.more = {"zeroshot": {"tasks": [*TASKS]}}
    (row,) = decidable(paper, study.config(), evidence)
    sizes = [reading("tasks", task).documents for task in TASKS]
    assert row.documents == sum(sizes)
    # Draws that are alike leave the variance over documents: in points, of the mean over two equal tasks.
    times = (4 / (1 / np.array(sizes)).sum()) / (4 / (1 / np.array([10, 10])).sum())
    differences = 100 * np.subtract(RIGHT["entropy"], RIGHT["cross_entropy"])
    stderr = np.sqrt(2 * differences.var(ddof=1) / 10 / 4 / times)
    assert row.half_width == pytest.approx(t.ppf(0.975, 19 * times - 1) * stderr, rel=0.01)
    assert row.decides == ("equivalence" if row.half_width < 0.25 else "larger effects only")


def test_one_draw_and_what_was_never_measured(paper: Paper, tmp_path: Path) -> None:
    study, evidence = earlier(tmp_path, vary=True)
    study.seeds = [0]
    (row,) = decidable(paper, study.config(), evidence)
    assert np.isnan(row.half_width) and row.decides == "nothing: one draw has no interval"
    study.seeds, study.ratios = [0, 1, 2], [0.1]
    (row,) = decidable(paper, study.config(), Evidence(study.config(), "test", tmp_path, tmp_path))
    assert row.decides == "unknown: the earlier study has no interval for it"
    study.methods = ["entropy"]
    assert [*decidable(paper, study.config(), evidence)] == []
