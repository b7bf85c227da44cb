"""The gap of a pruned model as both are trained, by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from synthetic import Study, analysed, evidence, gather

from hfprune.cells import DENSE, Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.effects.added.training import Training
from hfprune.results.effect_rows import BOTH, ITEMS_ALONE, EffectRow, read_effects
from hfprune.results.files import read_union

STEPS = [0, 1, 4, 10]
TOKENS = [3, 10, 7, 20, 1, 4, 6, 9, 12, 5]
RNG = np.random.default_rng(0)
DENSE_LOSSES = 2 + RNG.normal(size=(4, 10))
GAPS = np.array([[1.0], [0.8], [0.5], [0.2]]) + 0.1 * RNG.normal(size=(4, 10))


RECOVERY = {"instructions": "pairs", "held_out": 10}
LORA = {"recoveries": ["none", "lora"], "recovery": RECOVERY, "effects": "training"}


def trained(
    folder: Path,
    method: str,
    losses: np.ndarray,
    draw: int = 0,
    recovery: str = "lora",
    steps: Sequence[int] = STEPS,
) -> None:
    curve = [
        {"step": step, "tokens": 100 * step, "loss": 0.0, "stderr": 0.0, "losses": each.tolist()}
        for step, each in zip(steps, losses, strict=False)
    ]
    calibrated = Study(folder).calibrated(method)
    ratio = 0.2 * (method != DENSE)
    cell = Cell("test", "tiny-llama", method, *calibrated, ratio, draw, Recovery(recovery))
    path = folder / f"cells/{method}/{recovery}/draw{draw}.json"
    made = {"curve": curve, "held_out_tokens": TOKENS[: losses.shape[1]]}
    write_result(path, cell, "recovery", "pairs", [Value("steps", STEPS[-1])], made)


def rows_of(folder: Path, draws: Sequence[int] = (0,), **changes: object) -> pd.DataFrame:
    study = Study(folder, methods=["entropy"], ratios=[0.2], draws=[*draws])
    return pd.DataFrame(
        [*Training().rows(evidence(study.config(**LORA | changes), folder))], columns=EffectRow._fields
    )


def mean_and_stderr(gaps: np.ndarray) -> tuple[float, float]:
    weights = np.array(TOKENS) / sum(TOKENS)
    mean = weights @ gaps
    return mean, np.sqrt(((weights * (gaps - mean)) ** 2).sum() * 10 / 9)


def test_the_gap_after_every_step_is_paired_by_sequence_and_weighs_tokens(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    rows = rows_of(tmp_path)
    after = rows[rows["outcome"] == "held_out_loss"].reset_index(drop=True)
    assert after["task"].tolist() == ["step 0", "step 1", "step 4", "step 10"]
    assert (after["n"] == 10).all(), "sequences, not tokens"
    assert {*after["covers"]} == {ITEMS_ALONE} and after["p"].isna().all(), "it is of this one training"
    for row, gaps, dense in zip(after.to_dict("records"), GAPS, DENSE_LOSSES, strict=True):
        mean, stderr = mean_and_stderr(gaps)
        assert row["value"] == pytest.approx(mean)
        assert row["base"] == pytest.approx(np.average(dense, weights=TOKENS))
        shorter = min(mean - row["low"], row["high"] - mean)
        assert shorter == pytest.approx(t.ppf(0.975, 9) * stderr), "the other end is longer, by the skewness"


def test_a_tenfold_training_changes_the_gap_by_the_slope_of_a_line_through_the_steps(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    [row] = rows_of(tmp_path).query("outcome == 'held_out_loss_slope'").to_dict("records")
    # What no training has read is at no logarithm.
    slopes = np.polyfit(np.log10(STEPS[1:]), GAPS[1:], 1)[0]
    mean, stderr = mean_and_stderr(slopes)
    assert row["value"] == pytest.approx(mean)
    assert min(mean - row["low"], row["high"] - mean) == pytest.approx(t.ppf(0.975, 9) * stderr)


def test_the_last_tenfold_is_the_change_of_the_gap_since_a_tenth_of_the_steps(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    [row] = rows_of(tmp_path).query("outcome == 'held_out_loss_tenfold'").to_dict("records")
    mean, stderr = mean_and_stderr(GAPS[3] - GAPS[1])
    assert (row["task"], row["value"]) == ("step 10", pytest.approx(mean))
    assert min(mean - row["low"], row["high"] - mean) == pytest.approx(t.ppf(0.975, 9) * stderr)


def test_several_draws_are_paired_with_those_of_the_dense_model(tmp_path: Path) -> None:
    """What a draw changes in both models changes nothing in their difference."""
    draws, columns = range(3), ["value", "low", "high", "p"]
    found = []
    for common in (0.0, 5.0):
        for draw in draws:
            dense = DENSE_LOSSES + common * draw
            trained(tmp_path, DENSE, dense, draw)
            trained(tmp_path, "entropy", dense + GAPS * (1 + draw), draw)
        found.append(rows_of(tmp_path, draws))
    pd.testing.assert_frame_equal(found[0][columns], found[1][columns])
    rows = found[0]
    assert {*rows["covers"]} == {BOTH} and (rows["draws"] == 3).all()
    named = ("held_out_loss of each step", "a tenfold", "held_out_loss_slope")
    assert {*rows["family"]} == {f"training: {name}" for name in named}
    assert rows["value"].iloc[0] == pytest.approx(2 * mean_and_stderr(GAPS[0])[0])


def test_a_reconstructed_model_is_compared_with_the_dense_one_after_the_same_training(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    trained(tmp_path, "entropy", DENSE_LOSSES + 2 * GAPS, recovery="linear+lora")
    rows = rows_of(tmp_path, recoveries=["none", "lora", "linear+lora"])
    values = {name: part["value"].to_numpy() for name, part in rows.groupby("recovery")}
    np.testing.assert_allclose(values["linear+lora"], 2 * values["lora"])
    assert {*rows["against_recovery"]} == {"lora"}


@pytest.mark.parametrize("lacking", ["dense", "a draw", "losses", "losses of a draw", "other sequences"])
def test_what_cannot_be_compared_has_no_row(lacking: str, tmp_path: Path) -> None:
    for draw in range(2):
        if lacking == "losses of a draw" and not draw:
            trained(tmp_path, DENSE, DENSE_LOSSES, draw, steps=[])
            trained(tmp_path, "entropy", DENSE_LOSSES + GAPS, draw, steps=[])
            continue
        if lacking != "dense":
            trained(tmp_path, DENSE, DENSE_LOSSES[:, : 9 if lacking == "other sequences" else 10], draw)
        if draw or lacking != "a draw":
            trained(tmp_path, "entropy", DENSE_LOSSES + GAPS, draw)
    changes: dict[str, object] = {"effects": []} if lacking == "losses" else {}
    assert rows_of(tmp_path, range(2), **changes).empty


def test_a_step_that_a_draw_lacks_is_left_out(tmp_path: Path) -> None:
    for draw, steps in enumerate((STEPS, STEPS[:3])):
        trained(tmp_path, DENSE, DENSE_LOSSES, draw)
        trained(tmp_path, "entropy", DENSE_LOSSES + GAPS, draw, steps=steps)
    assert [*filter(None, rows_of(tmp_path, range(2))["task"])] == ["step 0", "step 1", "step 4"]


def test_a_training_of_two_steps_has_a_slope_and_one_of_a_single_step_has_none(tmp_path: Path) -> None:
    change = mean_and_stderr(GAPS[2] - GAPS[1])[0]
    for steps, slopes in (([0, 1, 4], [change / np.log10(4)]), ([0, 4], [])):
        trained(tmp_path, DENSE, DENSE_LOSSES, steps=steps)
        trained(tmp_path, "entropy", DENSE_LOSSES + GAPS, steps=steps)
        rows = rows_of(tmp_path).query("outcome == 'held_out_loss_slope'")
        assert rows["value"].tolist() == pytest.approx(slopes)


def test_a_study_that_asks_has_them_in_its_table_and_another_keeps_no_losses(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    gather(study.config(**LORA), tmp_path)
    analysed(tmp_path)
    rows = read_effects(tmp_path / "effects.csv").query("question == 'training'")
    assert len(rows) == len(STEPS) + 2 and {*rows["unit"]} == {"nats", "nats per tenfold"}
    gather(study.config(**LORA | {"effects": []}), tmp_path)
    records = read_union(tmp_path / "records.parquet")
    assert records["curve"].str.len().gt(2).all() and not records["curve"].str.contains("losses").any()


@pytest.mark.parametrize("without", [{"recoveries": "none"}, {"recovery": RECOVERY | {"held_out": 0}}])
def test_a_study_without_held_out_losses_is_refused(without: dict, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"training needs a recovery that trains \(lora\), and its `held_out`"
    ):
        Study(tmp_path, methods=["entropy"], ratios=[0.2]).config(**LORA | without)
