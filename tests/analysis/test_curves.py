"""Learning curves, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from hfprune.cells import CELL_COLUMNS, Cell, Result
from hfprune.results.curves import POINT, learning_curves
from hfprune.results.gathering import record

CELL = dict(zip(CELL_COLUMNS, ("s", "m", "entropy", "c4", 4, 0.2, 1, "lora"), strict=True))
TOKENS = [3, 10, 7, 20, 1, 4, 6, 9, 12, 5]
LOSSES = 3 + np.random.default_rng(0).normal(size=(4, 10))
STEPS = [0, 1, 2, 3]
COLUMNS = ["model", "method", "calibration", "sequences", "ratio", "draw", "recovery", *POINT]


def result(**made) -> Result:
    return Result(Cell(**CELL), "recovery", "pairs", [], made)


def recovered() -> Result:
    """A training of three steps, of which the second is half, rounded up."""
    points = [
        {"step": step, "tokens": 100 * step, "loss": 2.5, "stderr": 0.1, "losses": losses.tolist()}
        for step, losses in zip(STEPS, LOSSES, strict=True)
    ]
    return result(curve=points, held_out_tokens=TOKENS)


def curves_of(results: list[Result]) -> pd.DataFrame:
    columns = [*record(result())]
    return learning_curves(pd.DataFrame([*map(record, results)], columns=columns))


def test_a_doubling_is_the_paired_change_of_the_loss_per_token_over_sequences() -> None:
    curves = curves_of([recovered()])
    assert [*curves] == COLUMNS
    assert curves[COLUMNS[:7]].drop_duplicates().to_numpy().tolist() == [
        ["m", "entropy", "c4", 4, 0.2, 1, "lora"]
    ]
    assert curves["step"].tolist() == STEPS and curves["tokens"].tolist() == [0, 100, 200, 300]
    assert (curves["n"] == 10).all() and (curves["loss"] == 2.5).all()
    assert [np.isnan(effect.value) for effect in curves["doubling"]] == [True, True, False, False]
    weights = np.array(TOKENS) / sum(TOKENS)
    for after, before in ((2, 1), (3, 2)):
        changes = LOSSES[after] - LOSSES[before]
        mean = weights @ changes
        # The standard error of a ratio of two means: changes in all tokens, and tokens.
        stderr = np.sqrt(((weights * (changes - mean)) ** 2).sum() * 10 / 9)
        half = t.ppf(0.975, 9) * stderr
        doubling = curves["doubling"][after]
        assert doubling.value == pytest.approx(mean)
        assert min(mean - doubling.low, doubling.high - mean) == pytest.approx(half), (
            "the other end is longer, by the skewness"
        )


def test_one_sequence_has_no_interval() -> None:
    alone = recovered()
    alone.provenance["held_out_tokens"] = TOKENS[:1]
    for point in alone.provenance["curve"]:
        point["losses"] = point["losses"][:1]
    last = curves_of([alone])["doubling"].iloc[-1]
    assert last.value == pytest.approx(LOSSES[3, 0] - LOSSES[2, 0]) and not last.has_interval


def test_a_recovery_from_before_there_were_curves_and_other_results_have_none() -> None:
    mark = {"sequences": 3, "agreement": 0.5}
    other = replace(result(curve=[mark]), measure="cost")
    for results in ([result(losses=[1.0])], [other], [result(curve=[], held_out_tokens=[])], []):
        curves = curves_of(results)
        pd.testing.assert_index_equal(curves.columns, pd.Index(COLUMNS))
        assert curves.empty
