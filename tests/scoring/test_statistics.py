"""The statistics of a pass: folds and halves, marks, what a killed run has read, and the official script's sum."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import assert_same_scores, build_tiny

from hfprune.calibration.folds import FOLDS
from hfprune.criteria import ActivationCriterion, Criterion
from hfprune.criteria.block_influence import BlockInfluence
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.flap import Flap
from hfprune.criteria.taylor import Taylor
from hfprune.criteria.wanda import Wanda
from hfprune.models.load import load_model
from hfprune.scoring import reading, saved_state
from hfprune.scoring.reading import marks
from hfprune.scoring.samples import Sample, Scorer, overlaps
from hfprune.scoring.score import Scored, score


def score_by(criterion: Criterion, model, blocks: torch.Tensor, **settings) -> Scored:
    return score({"it": criterion}, model, blocks, **settings)["it"]


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (30, 9), generator=torch.Generator().manual_seed(3))


def sample_of(rows: torch.Tensor, cuts: list[int], homes: list[int], **options) -> Sample:
    """Return a sample of one sequence more than these rows, which are shares of an entropy and come in pieces."""
    units = {"x": SimpleNamespace(kind="neurons")}
    sample = Sample(Entropy(**options), units, range(len(rows) + 1), homes)
    scorer = Scorer(sample.criterion, units, [sample])
    for start, stop in pairwise(cuts):
        scorer.add("x", rows[start:stop], start)
    return sample


TURNS = [n % FOLDS for n in range(21)]
DEALT = torch.randint(0, FOLDS, (21,), generator=torch.Generator().manual_seed(5)).tolist()


@pytest.mark.parametrize("homes", [TURNS, DEALT])
@pytest.mark.parametrize("cuts", [[0, 21], [0, 1, 4, 21], [*range(22)]])
def test_folds_hold_their_sequences_however_they_come_in(cuts: list[int], homes: list[int]) -> None:
    rows, of = torch.rand(21, 40, dtype=torch.float64), torch.tensor(homes)
    sample = sample_of(rows, cuts, homes)
    for index in set(homes):
        torch.testing.assert_close(sample.folds[index]["x"], rows[of == index].sum(0))
    torch.testing.assert_close(sample.scores()["x"], rows.sum(0))
    sample.mark(21)
    halves = overlaps([(rows[of % 2 == 0].sum(0), rows[of % 2 == 1].sum(0))])
    assert [sample.curve[0]["agreement"]] == halves


def test_marks_and_overlaps_by_hand() -> None:
    falling, mixed, rising = (torch.tensor(x) for x in ([4.0, 3, 2, 1], [4.0, 1, 2, 3], [1.0, 2, 3, 4]))
    assert overlaps([(falling, falling), (falling, mixed), (falling, rising)]) == [1, 0.5, 0]
    assert [marks(count) for count in (5, 8, 30)] == [[5], [8], [8, 12, 18, 27, 30]]
    sample = sample_of(torch.tensor([[9.0, 8, 1, 0], [9.0, 0, 8, 1]]), [0, 2], TURNS)
    sample.mark(2)
    assert sample.curve == [{"sequences": 2, "agreement": 0.5}]


class Largest(ActivationCriterion):
    def shares(self, h):
        return h.abs().amax(1)

    def combine(self, parts):
        return parts.amax(0)


@pytest.mark.parametrize("batch_tokens", [45, 10**6])
def test_a_criterion_may_keep_a_maximum(blocks, batch_tokens: int, tmp_path: Path) -> None:
    tiny = build_tiny("llama")
    caught: dict[str, torch.Tensor] = {}
    for index, layer in enumerate(tiny.model.layers):
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs, name=f"mlp.{index}": caught.update({name: inputs[0].abs().amax(1)})
        )
    tiny(blocks)
    largest = dict(caught)
    settings = {"batch_tokens": batch_tokens, "state": tmp_path, "identity": "a"}
    found, again = (score_by(Largest(), tiny, blocks, **settings) for _ in range(2))
    assert_same_scores(found, again)
    assert [mark["sequences"] for mark in found.curve] == [8, 12, 18, 27, 30]
    for place, of_blocks in largest.items():
        torch.testing.assert_close(found.scores[place], of_blocks.amax(0), check_dtype=False)
    halves = [(x[::2].amax(0), x[1::2].amax(0)) for x in largest.values()]
    assert found.curve[-1]["agreement"] == pytest.approx(np.mean(overlaps(halves))), "of their own maxima"


@pytest.mark.parametrize(
    ("criteria", "kinds"),
    [
        ({"entropy": Entropy()}, ["neurons"]),
        ({"rounded": Entropy(accumulator="bfloat16"), "flap": Flap(), "taylor": Taylor()}, ["neurons"]),
        ({"entropy": Entropy(), "student": Distillation()}, ["neurons", "key_value_groups", "layers"]),
    ],
    ids=["one", "several statistics", "a student and all units"],
)
def test_killed_sweep_goes_on_where_each_criterion_was_to_the_same_scores(
    blocks, criteria, kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, settings = build_tiny("qwen3"), {"batch_tokens": 36}
    monkeypatch.setattr("hfprune.scoring.reading.SAVE_SECONDS", 0)
    flush, read, deadly = Scorer.flush, [], 0

    def die(scorer: Scorer, sequence: int) -> None:
        flush(scorer, sequence)
        read.append(sequence)
        if deadly and len(read) % deadly == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "flush", die)
    expected = score(criteria, tiny, blocks, kinds, **settings)
    starts, deadly, deaths = [*read], 5, []
    read.clear()
    while True:
        try:
            found = score(criteria, tiny, blocks, kinds, state=tmp_path, identity="a", **settings)
            break
        except KeyboardInterrupt:
            deaths.append(len(read))
    assert len(deaths) > 1
    for dead in reversed(deaths):  # the batch that was cut is read again, and no other
        assert read.pop(dead) == read[dead - 1]
    assert read == starts
    for name, one in expected.items():
        assert_same_scores(found[name], one)


@pytest.mark.parametrize(
    ("criteria", "kinds"),
    [
        ({"flap": Flap()}, ["neurons", "key_value_groups"]),
        ({"flap": Flap(), "wanda": Wanda()}, ["neurons"]),
        ({"influence": BlockInfluence()}, ["layers"]),
    ],
    ids=["groups", "several statistics", "layers"],
)
def test_a_killed_scoring_from_disk_goes_on_at_its_layer(
    blocks, criteria, kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny("qwen3", num_hidden_layers=5).save_pretrained(tmp_path / "model")
    model, settings = load_model(tmp_path / "model", device_map="disk"), {"batch_tokens": 36, "resamples": 2}
    monkeypatch.setattr(reading, "SAVE_SECONDS", 0)
    read_layers, read, deadly = reading.read_layers, [], 0

    def die(model, tokens, layers, *rest) -> object:
        read.append(layers.start)
        if deadly and len(read) % deadly == 0:
            raise KeyboardInterrupt
        return read_layers(model, tokens, layers, *rest)

    monkeypatch.setattr(reading, "read_layers", die)
    expected = score(criteria, model, blocks, kinds, **settings)
    batches = read.count(0)
    deadly, found = batches + 3, None
    read.clear()
    while found is None:
        with suppress(KeyboardInterrupt):
            found = score(criteria, model, blocks, kinds, state=tmp_path / "state", identity="a", **settings)
    # The third batch of a layer dies, and no finished layer is read again.
    assert [read.count(layer) for layer in range(5)] == [batches, *[batches + 3] * 4]
    for name, scored in expected.items():
        assert_same_scores(found[name], scored)
        for other, resampled in zip(found[name].resampled, scored.resampled, strict=True):
            assert all(torch.equal(other[key], x) for key, x in resampled.items())


def official_sum(rows: torch.Tensor) -> torch.Tensor:
    """Add rows as the official script does, in its model's bfloat16."""
    total = torch.zeros(rows.shape[1], dtype=torch.bfloat16)
    for row in rows:
        total = total + row.to(torch.bfloat16)
    return total.double()


def test_bfloat16_accumulator_adds_as_the_official_script_does(blocks) -> None:
    rows = torch.rand(7, 5)
    for cuts in ([0, 7], [0, 1, 4, 7]):
        sample = sample_of(rows, cuts, TURNS, accumulator="bfloat16")
        assert torch.equal(sample.scores()["x"], official_sum(rows))
        torch.testing.assert_close(sample.folds[0]["x"], rows[0].double())
    tiny = build_tiny("llama")
    alone = [score_by(Entropy(), tiny, block).scores for block in blocks.split(1)]
    rounded = score_by(Entropy(accumulator="bfloat16"), tiny, blocks, batch_tokens=blocks.shape[1])
    for place, found in rounded.scores.items():
        assert torch.equal(found, official_sum(torch.stack([one[place] for one in alone])))
        assert not torch.equal(found, sum(one[place] for one in alone))


def test_sweep_of_another_identity_starts_anew(blocks, tmp_path: Path) -> None:
    tiny = build_tiny("qwen2")
    settings = {"state": tmp_path, "identity": "a"}
    score_by(Entropy(), tiny, blocks[:10], **settings)
    expected = score_by(Entropy(), tiny, blocks)
    assert_same_scores(score_by(Entropy(), tiny, blocks, state=tmp_path, identity="b"), expected)
    # Nor does another criterion take over what this one has read.
    other = score_by(CrossEntropy(), tiny, blocks)
    assert_same_scores(score_by(CrossEntropy(), tiny, blocks, state=tmp_path, identity="b"), other)


def test_state_that_costs_more_to_save_than_to_compute_is_not_saved(blocks, tmp_path, monkeypatch) -> None:
    tiny = build_tiny("llama")
    weights = 3 * 3 * 48 * 32 * 4  # layers, projections, shape, float32
    monkeypatch.setattr("hfprune.scoring.saved_state.STATE_BYTES", 2 * weights)
    monkeypatch.setattr("hfprune.scoring.reading.SAVE_SECONDS", 0)
    saved: list[int] = []
    save = saved_state.save_tensors
    monkeypatch.setattr(
        saved_state,
        "save_tensors",
        lambda path, tensors, **more: (saved.append(int(more["done"])), save(path, tensors, **more)),
    )
    score_by(Flap(), tiny, blocks[:8], state=tmp_path, batch_tokens=18)
    assert saved == [2, 4, 6, 8]
    saved.clear()
    score_by(Taylor(), tiny, blocks[:8], state=tmp_path, batch_tokens=18)  # even and odd sums
    assert saved == [8], "the scores, which are small"
