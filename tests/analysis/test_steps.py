"""Steps of a chain of methods, and the share of each in the effect between its ends."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import PAPER, Study, analysed, gather

from hfprune.cells import DENSE
from hfprune.report.table_files import write_tables
from hfprune.results.effect_rows import read_effects
from hfprune.statistics.outcomes import Draw
from hfprune.statistics.quotient import paired_quotient

CHAIN = ["cross_entropy", "fisher", "entropy"]
OF_JS = "question == 'step' and outcome == 'js_distance'"
# By model; of the last, a method of the chain was not measured.
DISTANCES = {
    "tiny-llama": dict(zip(CHAIN, (0.40, 0.38, 0.30), strict=True)),
    "tiny-qwen": dict(zip(CHAIN, (0.20, 0.35, 0.40), strict=True)),
    "tiny-gemma": {"cross_entropy": 0.40, "entropy": 0.30},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    study = Study(folder, CHAIN, [0.2], [*DISTANCES], [0, 1, 2], {"arc_easy": 0, "boolq": 0})
    noise = np.random.default_rng(0)
    for model, distances in DISTANCES.items():
        losses = noise.normal(3, 0.1, 40)
        study.outcomes(DENSE, 0.0, "perplexity", losses, metric="nll", model=model)
        for draw, (method, distance) in product(study.draws, distances.items()):
            cell = {"model": model, "draw": draw}
            values = noise.normal(0, 0.01, 40)
            values += distance - values.mean()
            study.outcomes(method, 0.2, "fidelity", values, metric="js_distance", **cell)
            for task in study.tasks:
                study.outcomes(method, 0.2, f"zeroshot/{task}", noise.integers(2, size=40), **cell)
    gather(study.config(effects=["steps"], chain=CHAIN), folder)
    analysed(folder)
    return folder


def test_a_step_is_a_method_less_the_one_before_it(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query(
        "question == 'step' and outcome == 'js_distance' and task == ''"
    )
    steps = [("fisher", "cross_entropy"), ("entropy", "fisher")]
    assert [*zip(rows["model"], rows["method"], rows["against"], strict=True)] == [
        (model, *step) for model in ("tiny-llama", "tiny-qwen") for step in steps
    ], "those of a whole chain alone"
    assert rows["value"].tolist() == pytest.approx([-0.02, -0.08, 0.15, 0.05])
    assert {*rows["family"]} == {"step: js_distance"} and (rows["holm"] >= rows["p"]).all()


def test_the_shares_of_a_chain_add_up_to_one(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query(f"{OF_JS} and task == 'share'")
    assert rows["value"].tolist() == pytest.approx([0.2, 0.8, 0.75, 0.25])
    assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
    lower, upper = rows["low"].to_numpy(), rows["high"].to_numpy()
    assert lower[::2] + upper[1::2] == pytest.approx(1, abs=1e-4), (
        "a lower end is what the others' upper leaves"
    )
    assert rows["p"].isna().all() and {*rows["family"]} == {""}


def test_the_table_tells_a_mean_from_that_without_a_task(folder: Path) -> None:
    write_tables(folder, PAPER, folder / "tables", ["added"])
    rows = pd.read_csv(folder / "tables/added.csv")
    text = (folder / "tables/added.md").read_text()
    assert {"points", "points_without_boolq"} <= {*rows["outcome"]}
    for outcome in ("Accuracy", "Accuracy without BoolQ"):
        assert len(re.findall(rf"\| {outcome} +\|", text)) == 8, "two rows a step of two models"


def test_a_chain_of_an_unknown_method_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "cross_entropy"], ratios=[0.2], draws=[0])
    with pytest.raises(ValueError, match="chain: unknown 'cross_entropi'; did you mean 'cross_entropy'"):
        study.config(chain=["entropy", "cross_entropi"])


def test_a_quotient_of_nothing_is_unknown() -> None:
    same = {Draw(draw): {"it": pd.Series([0.1, 0.2, 0.4], name="x")} for draw in range(3)}
    assert np.isnan(paired_quotient([(1.0, same), (-1.0, same)], [(1.0, same), (-1.0, same)])).all()
