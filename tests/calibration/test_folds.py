"""Resampled calibrations: which folds they hold, and that their scores are those of the repeated sequences."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from conftest import build_tiny

from hfprune.calibration.folds import FOLDS, folds_of, resample
from hfprune.criteria import Criterion
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.flap import Flap
from hfprune.criteria.magnitude import Magnitude
from hfprune.criteria.random import Random
from hfprune.criteria.taylor import Taylor
from hfprune.scoring.score import score

BLOCKS = torch.randint(0, 97, (20, 9), generator=torch.Generator().manual_seed(3))
# Two sequences a document, not in turns.
DOCUMENTS = [7, 7, 3, 3, 9, 9, 1, 1, 0, 0, 4, 4, 8, 8, 2, 2, 5, 5, 6, 6]


def test_sequences_of_a_document_stay_together() -> None:
    assert folds_of(20, DOCUMENTS) == [rank % FOLDS for rank in range(10) for _ in range(2)]
    assert folds_of(20, [0] * 15 + [1] * 5) == folds_of(20) == [n % FOLDS for n in range(20)]


def test_a_resample_draws_as_many_folds_and_depends_on_seed_and_number_alone() -> None:
    assert resample(range(8), 0, 1) == resample(range(8), 0, 1)
    drawn = [resample(range(8), seed, n) for seed in (0, 1) for n in range(1, 200)]
    assert {len(folds) for folds in drawn} == {8} and len({*map(tuple, drawn)}) > 300
    counts = Counter(fold for folds in drawn for fold in folds)
    assert {*counts} == {*range(8)} and min(counts.values()) > 0.85 * max(counts.values())


@pytest.mark.parametrize("criterion", [Entropy(), Entropy(aggregation="sum_squares"), Flap()])
def test_resampled_scores_are_those_of_the_repeated_sequences(criterion: Criterion) -> None:
    tiny = build_tiny("qwen3")
    found = score({"it": criterion}, tiny, BLOCKS, documents=DOCUMENTS, resamples=3, seed=5)["it"]
    homes = folds_of(20, DOCUMENTS)
    assert len(found.resampled) == 3
    for number, scores in enumerate(found.resampled, 1):
        rows = [n for fold in resample(range(FOLDS), 5, number) for n in range(20) if homes[n] == fold]
        again = score({"it": criterion}, tiny, BLOCKS[rows])["it"].scores
        for place, values in scores.items():
            torch.testing.assert_close(values, again[place], rtol=1e-4, atol=1e-4 * values.mean().item())
    assert not torch.allclose(found.resampled[0]["mlp.0"], found.scores["mlp.0"], rtol=1e-3)


def test_criteria_on_the_same_blocks_have_the_same_resamples_and_others_say_that_they_have_none() -> None:
    """Weights are scored with other random numbers, if they take any."""
    criteria = {"a": Entropy(), "b": Entropy(), "taylor": Taylor(), "bf16": Entropy(accumulator="bfloat16")}
    model = build_tiny("llama")
    found = score(criteria, model, BLOCKS, resamples=2)
    found |= score({"magnitude": Magnitude(), "random": Random()}, model, resamples=2)
    assert found["taylor"].resampled == found["bf16"].resampled == []
    pairs = [*zip(found["a"].resampled, found["b"].resampled, strict=True), found["magnitude"].resampled]
    for first, second in pairs:
        assert all(torch.equal(first[place], second[place]) for place in first)
    drawn = [found["random"].scores, *found["random"].resampled]
    for one, other in combinations(drawn, 2):
        assert not torch.equal(one["mlp.0"], other["mlp.0"])
