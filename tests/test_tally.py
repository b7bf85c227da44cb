from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import build_tiny

from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.flap import Flap
from hfprune.criteria.taylor import Taylor
from hfprune.scoring import Sweep, _Tape
from hfprune.tally import Tally, marks, overlap


@pytest.fixture
def blocks() -> torch.Tensor:
    return torch.randint(0, 97, (30, 9), generator=torch.Generator().manual_seed(3))


def test_halves_hold_even_and_odd_sequences_however_they_come_in() -> None:
    rows = torch.rand(7, 5, dtype=torch.float64)
    for cuts in ([0, 7], [0, 1, 4, 7], list(range(8))):
        tally = Tally.zeros([torch.empty(5, dtype=torch.float64)])
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
    [
        *((Entropy(), n) for n in (1, 5, 9)),
        (Entropy(accumulator="bfloat16"), 5),
        *((Distillation(warm_start=0.1), n) for n in (5, 13)),
        (Flap(), 5),
        (Taylor(), 5),
    ],
)
def test_killed_sweep_goes_on_to_the_same_scores(
    blocks, criterion, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = build_tiny("qwen3")
    monkeypatch.setattr("hfprune.scoring.SAVE_SECONDS", 0)
    settings = {"batch_tokens": 36, "state": tmp_path, "identity": "a"}
    read: list[int] = []
    monkeypatch.setattr(_Tape, "check_finite", lambda tape, sequence: read.append(sequence))
    whole = Sweep(tiny, blocks, batch_tokens=36)
    expected = criterion.scores(whole)
    starts, read = read, []

    def die(tape, sequence: int) -> None:
        read.append(sequence)
        if len(read) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Tape, "check_finite", die)
    with pytest.raises(KeyboardInterrupt):
        criterion.scores(Sweep(tiny, blocks, **settings))
    again = Sweep(tiny, blocks, **settings)
    scores = criterion.scores(again)
    assert read == [*starts[:after], *starts[after - 1 :]], "only the batch that was cut is read again"
    assert all(torch.equal(a, b) for a, b in zip(scores, expected, strict=True)), "the same bytes"
    assert again.curves == whole.curves


def official_sum(rows: torch.Tensor) -> torch.Tensor:
    """Add rows as the official script does, in its model's bfloat16."""
    total = torch.zeros(rows.shape[1], dtype=torch.bfloat16)
    for row in rows:
        total = total + row.to(torch.bfloat16)
    return total.double()


def test_bfloat16_accumulator_adds_as_the_official_script_does(blocks) -> None:
    rows = torch.rand(7, 5)
    for cuts in ([0, 7], [0, 1, 4, 7], list(range(8))):
        tally = Tally.zeros([torch.empty(5, dtype=torch.float64)], "bfloat16")
        for start, stop in pairwise(cuts):
            tally.add(0, rows[start:stop], start)
        assert torch.equal(tally.scores()[0], official_sum(rows))
        torch.testing.assert_close(tally.even[0], rows[0::2].sum(0).double())
    tiny = build_tiny("llama")
    alone = [Entropy().scores(Sweep(tiny, block)) for block in blocks.split(1)]
    scores = Entropy(accumulator="bfloat16").scores(Sweep(tiny, blocks, batch_tokens=blocks.shape[1]))
    for layer, found in enumerate(scores):
        assert torch.equal(found, official_sum(torch.stack([one[layer] for one in alone])))
        assert not torch.equal(found, sum(one[layer] for one in alone))


def test_bfloat16_accumulator_stalls() -> None:
    rows = torch.rand(4096, 8, generator=torch.Generator().manual_seed(0))
    tally = Tally.zeros([torch.empty(8, dtype=torch.float64)], "bfloat16")
    shares = []
    for start in range(0, 4096, 512):
        tally.add(0, rows[start : start + 512], start)
        shares.append((tally.scores()[0] / rows[: start + 512].sum(0)).mean().item())
    assert all(later < earlier for earlier, later in pairwise(shares))
    # Numbers below 1 are lost on a sum of 256, whose neighbour in bfloat16 is 258.
    assert tally.scores()[0].max() <= 256
    assert shares[-1] < 0.15 < 0.85 < shares[0]


def test_sweep_of_another_identity_starts_anew(blocks, tmp_path: Path) -> None:
    tiny = build_tiny("qwen2")
    Entropy().scores(Sweep(tiny, blocks[:10], state=tmp_path, identity="a"))
    scores = Entropy().scores(Sweep(tiny, blocks, state=tmp_path, identity="b"))
    assert all(torch.equal(a, b) for a, b in zip(scores, Entropy().scores(Sweep(tiny, blocks)), strict=True))


def test_state_that_costs_more_to_save_than_to_compute_is_not_saved(blocks, tmp_path, monkeypatch) -> None:
    tiny = build_tiny("llama")
    weights = 3 * 3 * 48 * 32 * 4  # layers, projections, shape, float32
    monkeypatch.setattr("hfprune.scoring.STATE_BYTES", 2 * weights)
    Flap().scores(Sweep(tiny, blocks, state=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.safetensors"]
    (tmp_path / "sweep.safetensors").unlink()
    Taylor().scores(Sweep(tiny, blocks, state=tmp_path))  # even and odd sums
    assert not list(tmp_path.iterdir())
