"""What a study can decide, from the spread in an earlier one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from synthetic import PAPER, Study, evidence

from hfprune.assets.known_tasks import known_task
from hfprune.cells import DENSE
from hfprune.cost.decidable import decidable
from hfprune.effects.verdicts import evaluate
from hfprune.paper.relations import Paper
from hfprune.results.evidence import Evidence

CLAIM = "entropy-above-cross-entropy"
TASKS = {"boolq": 0.6, "piqa": 0.6}
RIGHT = {"entropy": [1, 0, 1, 1, 0, 1, 1, 1, 0, 1], "cross_entropy": [1, 1, 0, 1, 0, 0, 1, 1, 0, 0]}


@pytest.fixture(scope="module")
def paper() -> Paper:
    found = Paper.read(PAPER / "claims.yaml")
    return Paper(found.models, [claim for claim in found.claims if claim.id == CLAIM], found.numbers)


def earlier(folder: Path, outcomes: dict[str, list[int]] = RIGHT, *, vary: bool) -> tuple[Study, Evidence]:
    """Three draws with the outcomes of each of two tasks; without `vary` all draws have the same."""
    number = len(outcomes["entropy"])
    zeroshot = {"zeroshot": {"tasks": [*TASKS], "documents": number}}
    study = Study(folder, ratios=[0.2], draws=[0, 1, 2], tasks=TASKS, methods=[*outcomes], more=zeroshot)
    for task in TASKS:
        study.outcomes(DENSE, 0.0, f"zeroshot/{task}", [1.0] * number)
        for method, right in outcomes.items():
            for draw in study.draws:
                moved = np.roll(right, draw * vary * (method == "entropy"))
                study.outcomes(method, 0.2, f"zeroshot/{task}", [*moved], draw=draw)
    study.collect()
    return study, Evidence(folder)


def test_a_study_as_large_has_the_same_interval(paper: Paper, tmp_path: Path) -> None:
    study, evidence = earlier(tmp_path, vary=True)
    (row,) = decidable(paper, study.config(), evidence)
    (found,) = (effect for effect in evaluate(paper, evidence)[1] if effect.model in study.models)
    half = max(found.high - found.value, found.value - found.low)
    assert row.half_width == pytest.approx(half)
    assert row.minimum_detectable_effect == pytest.approx(found.detectable)
    assert row.unit == "points"
    assert (row.documents, row.draws, row.published) == (20, "3", "0.5")
    assert row.decides == "larger effects only"


@pytest.mark.parametrize(
    ("documents", "differ", "decides"),
    [
        (10, 2, "larger effects only"),
        (1000, 5, "the published effects"),
        (1000, 1, "the published effects and equivalence"),
    ],
)
def test_all_documents_by_hand(
    documents: int, differ: int, decides: str, paper: Paper, tmp_path: Path
) -> None:
    """One of two methods alone is right on so many documents of each task, and the other on one."""
    right = {"entropy": [1] * documents, "cross_entropy": [1] * documents}
    right["cross_entropy"][:differ], right["entropy"][-1] = [0] * differ, 0
    study, evidence = earlier(tmp_path, right, vary=False)
    study.more = {"zeroshot": {"tasks": [*TASKS]}}
    (row,) = decidable(paper, study.config(), evidence)
    sizes = [known_task(name).documents for name in TASKS]
    assert row.documents == sum(sizes)
    # Draws that are alike leave the variance over documents: in points, of the mean over two equal tasks.
    variance = np.var(100 * np.subtract(right["entropy"], right["cross_entropy"]), ddof=1)
    stderr = np.sqrt(sum(variance / size for size in sizes) / 4)
    # Longer on the side of the few documents that differ.
    assert row.minimum_detectable_effect > row.half_width > 0.99 * t.ppf(0.975, 1000) * stderr
    assert row.half_width == pytest.approx(t.ppf(0.975, 1000) * stderr, rel=0.2)
    assert row.decides == decides


def test_one_draw_and_what_is_not_in_the_study(paper: Paper, tmp_path: Path) -> None:
    study, before = earlier(tmp_path, vary=True)
    study.draws = [0]
    (row,) = decidable(paper, study.config(), before)
    assert np.isnan(row.half_width) and row.decides == "nothing: fewer than 3 draws have no interval"
    study.draws, study.ratios = [0, 1, 2], [0.3]
    (row,) = decidable(paper, study.config(), evidence(study.config(), tmp_path))
    assert row.decides == "unknown: the earlier study has no interval for it"
    for change in ({"ratios": [0.1]}, {"methods": ["entropy"]}):
        other = replace(study, **change)
        assert [*decidable(paper, other.config(), before)] == []
