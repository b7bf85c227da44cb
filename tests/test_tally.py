from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import build_tiny

from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.scoring import Sweep
from hfprune.tally import Tally, marks, overlap


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (30, 9), generator=torch.Generator().manual_seed(3))


def test_halves_hold_even_and_odd_sequences_however_they_come_in() -> None:
    rows = torch.rand(7, 5, dtype=torch.float64)
    for cuts in ([0, 7], [0, 1, 4, 7], list(range(8))):
        tally = Tally.zeros([torch.empty(5)])
        for start, stop in pairwise(cuts):
            tally.add(0, rows[start:stop], start)
        torch.testing.assert_close(tally.even[0], rows[0::2].sum(0))
        torch.testing.assert_close(tally.odd[0], rows[1::2].sum(0))
        torch.testing.assert_close(tally.scores()[0], rows.sum(0))


def test_overlap_by_hand() -> None:
    assert overlap(torch.tensor([4.0, 3, 2, 1]), torch.tensor([4.0, 3, 2, 1])) == 1
    assert overlap(torch.tensor([4.0, 3, 2, 1]), torch.tensor([4.0, 1, 2, 3])) == 0.5
    assert overlap(torch.tensor([4.0, 3, 2, 1]), torch.tensor([1.0, 2, 3, 4])) == 0


def test_mark_compares_halves_and_remembers_the_last() -> None:
    tally = Tally(
        [torch.tensor([9.0, 8, 1, 0])], [torch.tensor([9.0, 0, 8, 1])], [torch.tensor([0.0, 0, 1, 1])]
    )
    assert tally.mark() == {"agreement": 0.5, "layers": [0.5], "successive": 0.5}  # 18 8 9 1: keeps 0 and 2
    assert tally.mark()["successive"] == 1


def test_marks_end_with_all() -> None:
    assert marks(5) == [5]
    assert marks(8) == [8]
    assert marks(30) == [8, 12, 18, 27, 30]


def test_sweep_stops_at_the_first_mark_that_agrees(blocks) -> None:
    tiny = build_tiny("llama")
    full = Sweep(tiny, blocks)
    Entropy().scores(full)
    curve = full.curves["sweep"]
    assert [mark["sequences"] for mark in curve] == [8, 12, 18, 27, 30]
    target = max(mark["criteria"][0]["agreement"] for mark in curve[:3])
    stop = next(mark["sequences"] for mark in curve if mark["criteria"][0]["agreement"] >= target)
    for batch_tokens in (9, 10**6):
        early = Sweep(tiny, blocks, batch_tokens=batch_tokens, until_agreement=target)
        scores = Entropy().scores(early)
        assert early.curves["sweep"][-1]["sequences"] == stop < 30
        for mine, theirs in zip(scores, Entropy().scores(Sweep(tiny, blocks[:stop])), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * theirs.mean().item())


@pytest.mark.parametrize(
    ("criterion", "after"),
    [(Entropy(), 1), (Entropy(), 5), (Entropy(), 9), *((Distillation(warm_start=0.1), n) for n in (5, 13))],
)
def test_killed_sweep_goes_on_to_the_same_scores(
    blocks, criterion, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = build_tiny("qwen3")
    monkeypatch.setattr("hfprune.scoring.SAVE_SECONDS", 0)
    settings = {"batch_tokens": 36, "state": tmp_path, "identity": "a"}
    whole = Sweep(tiny, blocks, batch_tokens=36)
    expected = criterion.scores(whole)
    read = []
    plain = Sweep._one_batch

    def die(self, tape, criteria, tokens) -> None:
        read.append(len(tokens))
        if len(read) == after:
            raise KeyboardInterrupt
        plain(self, tape, criteria, tokens)

    monkeypatch.setattr(Sweep, "_one_batch", die)
    with pytest.raises(KeyboardInterrupt):
        criterion.scores(Sweep(tiny, blocks, **settings))
    again = Sweep(tiny, blocks, **settings)
    scores = criterion.scores(again)
    sweeps = len(whole.curves)
    assert sum(read) == sweeps * len(blocks) + read[after - 1], "only the batch that was cut is read again"
    assert all(torch.equal(a, b) for a, b in zip(scores, expected, strict=True)), "the same bytes"
    assert again.curves == whole.curves


def test_sweep_of_another_identity_starts_anew(blocks, tmp_path: Path) -> None:
    tiny = build_tiny("qwen2")
    Entropy().scores(Sweep(tiny, blocks[:10], state=tmp_path, identity="a"))
    scores = Entropy().scores(Sweep(tiny, blocks, state=tmp_path, identity="b"))
    assert all(torch.equal(a, b) for a, b in zip(scores, Entropy().scores(Sweep(tiny, blocks)), strict=True))
