"""The gap of a pruned model as both are trained, by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from synthetic import Study, analysed, evidence, gather

from hfprune.analysis.added.training import Training
from hfprune.analysis.effect_rows import BOTH, ITEMS_ALONE, read_effects
from hfprune.results import DENSE, Cell, Value, write_result

STEPS = [0, 1, 4, 16]
TOKENS = [3, 10, 7, 20, 1, 4, 6, 9, 12, 5]
RNG = np.random.default_rng(0)
DENSE_LOSSES = 2 + RNG.normal(size=(4, 10))
GAPS = np.array([[1.0], [0.8], [0.5], [0.2]]) + 0.1 * RNG.normal(size=(4, 10))


def trained(folder: Path, method: str, losses: np.ndarray, seed: int = 0, recovery: str = "lora") -> None:
    curve = [
        {"step": step, "tokens": 100 * step, "loss": 0.0, "stderr": 0.0, "losses": each.tolist()}
        for step, each in zip(STEPS, losses, strict=True)
    ]
    cell = Cell("test", "tiny-llama", method, 0.2 * (method != DENSE), seed, recovery)
    path = folder / f"cells/{method}/{recovery}/seed{seed}.json"
    made = {"curve": curve, "held_out_tokens": TOKENS}
    write_result(path, cell, "recovery", "pairs", [Value("steps", STEPS[-1])], made)


def rows_of(folder: Path, seeds: Sequence[int] = (0,)) -> pd.DataFrame:
    study = Study(folder, methods=["entropy"], ratios=[0.2], seeds=[*seeds])
    return pd.DataFrame([*Training().rows(evidence(study.config(), folder))])


def mean_and_stderr(gaps: np.ndarray) -> tuple[float, float]:
    weights = np.array(TOKENS) / sum(TOKENS)
    mean = weights @ gaps
    return mean, np.sqrt(((weights * (gaps - mean)) ** 2).sum() * 10 / 9)


def test_the_gap_after_every_step_is_paired_by_sequence_and_weighs_tokens(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    rows = rows_of(tmp_path)
    after = rows[rows["outcome"] == "held_out_loss"].reset_index(drop=True)
    assert after["task"].tolist() == ["0 steps", "1 steps", "4 steps", "16 steps"]
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


def test_several_draws_are_paired_with_those_of_the_dense_model(tmp_path: Path) -> None:
    seeds = range(3)
    for seed in seeds:
        trained(tmp_path, DENSE, DENSE_LOSSES + seed, seed)
        trained(tmp_path, "entropy", DENSE_LOSSES + seed + GAPS * (1 + seed), seed)
    rows = rows_of(tmp_path, seeds)
    assert {*rows["covers"]} == {BOTH} and (rows["draws"] == 3).all()
    assert rows["family"].nunique() == 2 and rows["p"].notna().all()
    assert rows["value"].iloc[0] == pytest.approx(2 * mean_and_stderr(GAPS[0])[0])


def test_a_reconstructed_model_is_compared_with_the_dense_one_after_the_same_training(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS, recovery="linear+lora")
    assert {*rows_of(tmp_path)["recovery"]} == {"linear+lora"}


def test_a_study_that_asks_has_them_in_its_table(tmp_path: Path) -> None:
    trained(tmp_path, DENSE, DENSE_LOSSES)
    trained(tmp_path, "entropy", DENSE_LOSSES + GAPS)
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    gather(study.config(effects="training"), tmp_path)
    analysed(tmp_path)
    rows = read_effects(tmp_path / "effects.csv").query("question == 'training'")
    assert len(rows) == len(STEPS) + 1 and {*rows["unit"]} == {"nats", "nats per tenfold"}
