"""What the benchmarks compare is the same work: both sides give the same numbers."""

import json
from pathlib import Path

import calibration_draws
import cells
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import build_tiny
from smoke import build_tokenizer

from hfprune.assets.text import Text
from hfprune.plans.plan import make_plan


def test_a_cell_measured_by_one_subject_and_in_the_plain_way(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    model = build_tiny("llama", vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    words = [f"The {a} of the {b} is {c}." for a in "abcde" for b in "fghij" for c in "klmno"]
    texts = [" ".join(words[start:] + words[:start]) for start in (0, 30, 60, 90)]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    text = Text(corpus=str(tmp_path / "text.jsonl"), sequences=3, length=40)
    plans = [make_plan(model, {f"mlp.{at}": torch.rand(48) for at in range(3)}, 0.2) for _ in range(3)]
    cell = cells.Pruned(tmp_path / "model", tmp_path, text, plans)
    ours, reference = cells.ours(cell), cells.reference(cell)
    assert ours.shape == (3, 3, 4), "plans, blocks, and three distances with the loss"
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)
    assert abs(ours[0] - ours[1]).max() > 10 * cells.TOLERANCE, "of other plans they differ"


def test_spread_by_folds_of_an_outcome_that_is_a_mean_over_them() -> None:
    rng, rows = np.random.default_rng(0), []
    values = rng.normal(size=(2, 2, calibration_draws.DRAWS, 8))
    for i, size in enumerate(calibration_draws.SIZES):
        for j, method in enumerate(calibration_draws.CRITERIA):
            for draw, folds in enumerate(values[i, j]):
                for kind, number, taken in calibration_draws.calibrations(size, draw):
                    rows.append((size, draw, method, kind, number, folds[taken].mean()))
    table = calibration_draws.spreads(pd.DataFrame(rows, columns=calibration_draws.COLUMNS))
    found = table.set_index(["sequences", "outcome", "folds"]).loc[128]
    entropy, cross_entropy = values[1]
    for name, of in {"entropy": entropy, "difference": cross_entropy - entropy}.items():
        real = of.mean(1).std(ddof=1)
        jackknife = (of[: calibration_draws.RESAMPLED].var(1, ddof=1).mean() / 8) ** 0.5
        bootstrap = found.loc[name, "bootstrap"]
        np.testing.assert_allclose(
            found.loc[name, "jackknife"][["SD over draws", "SD by folds", "ratio of SDs"]].astype(float),
            [real, jackknife, real / jackknife],
        )
        # Eight resamples of each of eight draws: within a third of what they estimate.
        assert bootstrap["SD by folds"] == pytest.approx(jackknife, rel=1 / 3)
        assert bootstrap["from"] < bootstrap["ratio of SDs"] < bootstrap["to"]
    committed = calibration_draws.HERE / "calibration_draws.csv"
    assert calibration_draws.page(pd.read_csv(committed)) == committed.with_suffix(".md").read_text()
    # A jackknife's mean is the whole's, if the outcome is a mean.
    assert found.xs("jackknife", level="folds")["excess"].to_numpy() == pytest.approx(0, abs=1e-12)
