"""Steps of a chain of methods, and the share of each in the effect between its ends."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import Study, analysed, gather

from hfprune.cells import DENSE
from hfprune.results.effect_rows import read_effects
from hfprune.statistics.outcomes import Draw
from hfprune.statistics.quotient import paired_quotient

CHAIN = ["cross_entropy", "fisher", "entropy"]
OF_JS = "question == 'step' and outcome == 'js_distance'"
DISTANCES = dict(zip(CHAIN, (0.40, 0.38, 0.30), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    study = Study(folder, methods=["entropy", "cross_entropy", "fisher"], ratios=[0.2], draws=[0, 1, 2])
    noise = np.random.default_rng(0)
    study.outcomes(DENSE, 0.0, "perplexity", noise.normal(3, 0.1, 40), metric="nll")
    for draw in study.draws:
        for method, distance in DISTANCES.items():
            values = distance + noise.normal(0, 0.01, 40)
            study.outcomes(
                method, 0.2, "fidelity", values - values.mean() + distance, metric="js_distance", draw=draw
            )
    gather(study.config(effects=["steps"], chain=CHAIN), folder)
    analysed(folder)
    return folder


def test_a_step_is_a_method_less_the_one_before_it(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query(
        "question == 'step' and outcome == 'js_distance' and task == ''"
    )
    assert [*zip(rows["method"], rows["against"], strict=True)] == [
        ("fisher", "cross_entropy"),
        ("entropy", "fisher"),
    ]
    assert rows["value"].tolist() == pytest.approx([-0.02, -0.08])
    assert {*rows["family"]} == {"step: js_distance"} and (rows["holm"] >= rows["p"]).all()


def test_the_shares_of_a_chain_add_up_to_one(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query(f"{OF_JS} and task == 'share'")
    assert rows["value"].tolist() == pytest.approx([0.2, 0.8])
    assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
    fisher, entropy = rows["low"].iloc[0], rows["high"].iloc[1]
    assert fisher + entropy == pytest.approx(1, abs=1e-4), (
        "a share's lower end is what the others' upper leaves"
    )
    assert rows["p"].isna().all() and {*rows["family"]} == {""}


def test_a_chain_of_an_unknown_method_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "cross_entropy"], ratios=[0.2], draws=[0])
    with pytest.raises(ValueError, match="chain: unknown 'cross_entropi'; did you mean 'cross_entropy'"):
        study.config(chain=["entropy", "cross_entropi"])


def test_a_quotient_of_nothing_is_unknown() -> None:
    same = {Draw(draw): {"it": pd.Series([0.1, 0.2, 0.4], name="x")} for draw in range(3)}
    assert np.isnan(paired_quotient([(1.0, same), (-1.0, same)], [(1.0, same), (-1.0, same)])).all()
