"""Differences between effects of several calibrations, readings and models, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from committed import results_of
from synthetic import Study, evidence

from hfprune.cells import Cell, Value, write_result
from hfprune.effects.added.terms import Terms
from hfprune.results.effect_rows import table
from hfprune.results.evidence import Evidence
from hfprune.statistics.combined import difference_of_independent, sum_on_common_items
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Contrast
from hfprune.study.study import Study as Config

RNG = np.random.default_rng(0)


def contrast(array: np.ndarray) -> Contrast:
    return Contrast(tasks={"text": array}, resampled={}, documents={}, fixed=False)


def test_one_contrast_alone_is_its_own_estimate() -> None:
    effect = contrast(RNG.normal(size=(5, 30)))
    alone, combined = estimate(effect), sum_on_common_items([effect])
    assert (combined.value, combined.low, combined.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    assert combined.draws == alone.draws == 5


def test_what_an_item_does_to_both_calibrations_is_no_difference_between_them() -> None:
    items, first, second = (RNG.normal(size=shape) for shape in ((1, 40), (6, 1), (4, 1)))
    same, other = contrast(5 * items + first), contrast(-(5 * items + second))
    difference = sum_on_common_items([same, other])
    assert difference.value == pytest.approx(first.mean() - second.mean())
    # Nothing is left but the draws of the two.
    assert difference.stderr**2 == pytest.approx(first.var(ddof=1) / 6 + second.var(ddof=1) / 4)


def test_independent_effects_add_their_variances() -> None:
    a, b = (estimate(contrast(RNG.normal(size=(4, 25)))) for _ in range(2))
    difference = difference_of_independent(a, b)
    assert difference.value == pytest.approx(a.value - b.value)
    assert difference.stderr**2 == pytest.approx(a.stderr**2 + b.stderr**2)


def test_intervals_of_a_difference_between_calibrations_cover_it() -> None:
    rng, covered, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        items = rng.normal(size=(1, 30))
        draws = [rng.normal(size=(6, 1)), rng.normal(size=(6, 1))]
        noise = [rng.normal(size=(6, 30)) for _ in draws]
        arrays = [sign * (items + d + e) for sign, d, e in zip((1, -1), draws, noise, strict=True)]
        found = sum_on_common_items([contrast(array) for array in arrays])
        covered += found.low <= 0 <= found.high
    assert 0.92 < covered / runs < 0.99


@pytest.fixture
def grid(tmp_path: Path) -> pd.DataFrame:
    """A study of two models; effects are 1 + 2 (calibrated on code) + 4 (read on it) + 8 (both), or 0."""
    config = Config(
        models=["a", "b"],
        methods=["entropy", "cross_entropy"],
        ratios=[0.2],
        draws=[0, 1, 2],
        calibrations={name: {"corpus": name, "sequences": 4, "length": 8} for name in ("c4", "code")},
        measures={
            "fidelity": {"corpus": "c4-reading", "sequences": 10, "length": 8},
            "fidelity_code": {"measure": "fidelity", "corpus": "code-reading", "sequences": 10, "length": 8},
        },
        effects=["terms"],
    )
    for model in "ab":
        for calibration in ("c4", "code"):
            for reading in ("fidelity", "fidelity_code"):
                both = calibration == "code", reading == "fidelity_code"
                effect = (1 + 2 * both[0] + 4 * both[1] + 8 * all(both)) * (model == "a")
                for method, more in (("entropy", 0.0), ("cross_entropy", float(effect))):
                    for draw in range(3):
                        cell = Cell("test", model, method, calibration, 4, 0.2, draw, "none")
                        base = np.linspace(0, 1, 10) + 0.01 * draw * np.arange(10)
                        items = pd.DataFrame({"item": range(10), "js_distance": base + more})
                        path = tmp_path / "cells" / str(cell) / f"{reading}.json"
                        values = [Value("js_distance", items["js_distance"].mean(), 0.1, 10)]
                        write_result(path, cell, reading, reading, values, {}, items)
    return table([*Terms().rows(evidence(config, tmp_path))]).set_index("task")


def test_terms_are_the_differences_that_they_are_called(grid: pd.DataFrame) -> None:
    on_a = grid[(grid["model"] == "a") & ~grid.index.str.startswith("model")]["value"]
    assert on_a["calibration: code less c4"] == pytest.approx(2 + 8 / 2)
    assert on_a["reading: fidelity_code less fidelity"] == pytest.approx(4 + 8 / 2)
    # The effects of one kind are 1 and 15, those of two kinds 3 and 5.
    assert on_a["same kind"] == pytest.approx(16 / 2 - 8 / 2)
    assert grid.loc["model: less b", "value"] == pytest.approx((1 + 3 + 5 + 15) / 4)
    assert grid.loc["model × calibration: code less c4: less b", "value"] == pytest.approx(6)
    assert {*grid["family"]} == {"term: js_distance"}


def test_a_grid_with_a_hole_has_no_terms(tmp_path: Path) -> None:
    study = replace(Study(tmp_path), methods=["entropy", "cross_entropy"])
    assert [*Terms().rows(evidence(study.write().config(), study.folder))] == []


def test_benchmarks_have_no_terms() -> None:
    """Several tasks of one measure are no readings of the same kind."""
    assert [*Terms().rows(Evidence(results_of("recovery")))] == []
