"""The default calibration is that of the rule which the study `mix` declares, applied here to its effects anew."""

import pandas as pd
import pytest
from committed import results_of

from hfprune.results.effect_rows import read_effects

REFERENCE = "mix"
CANDIDATES = ("mix_64", "code", "mathematics")
SMOLLM2, QWEN = MODELS = ("smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4")


@pytest.fixture(scope="module")
def effects() -> pd.DataFrame:
    rows = read_effects(results_of("mix") / "effects.csv")
    return rows[rows["measure"] == "gold_bpb"].assign(significant=rows["holm"] < 0.05)


@pytest.fixture(scope="module")
def losses(effects: pd.DataFrame) -> pd.DataFrame:
    """What pruning adds to bits per byte: a row per calibration, columns by model and capability."""
    rows = effects[(effects["question"] == "dense") & (effects["task"] != "")]
    table = rows.pivot_table(index="calibration", columns=["model", "task"], values="value")
    assert (
        {*table.index} == {REFERENCE, *CANDIDATES} and table.shape[1] == 14 and table.notna().all(axis=None)
    )
    return table


def less_the_reference(effects: pd.DataFrame, candidate: str) -> pd.DataFrame:
    """Return the rows of a candidate less the reference, by model and capability; "" is the mean over these."""
    rows = effects[(effects["question"] == "calibration") & (effects["calibration"] == candidate)]
    assert {*rows["against_calibration"]} == {REFERENCE} and len(rows) == 16
    return rows.set_index(["model", "task"])


def worst(losses: pd.DataFrame, calibration: str) -> float:
    """Return the worst loss over capabilities, mean of the models."""
    return float(losses.loc[calibration].groupby("model").max().mean())


def conditions(effects: pd.DataFrame, losses: pd.DataFrame, candidate: str) -> tuple[bool, bool, bool]:
    """Return whether a candidate meets the rule's first, second and third condition."""
    rows = less_the_reference(effects, candidate)
    more, less = (rows["significant"] & (sign * rows["value"] > 0) for sign in (1, -1))
    of_capability = rows.index.get_level_values("task") != ""
    of_worst = [(model, losses.loc[REFERENCE, model].idxmax()) for model in MODELS]
    of_mean = [(model, "") for model in MODELS]
    smaller = worst(losses, candidate) < worst(losses, REFERENCE)
    return (
        not more[of_capability].any(),
        smaller and bool(less.loc[of_worst].any()),
        bool(less.loc[of_mean].any()) and not more.loc[of_mean].any(),
    )


def test_no_candidate_replaces_the_general_mix(effects: pd.DataFrame, losses: pd.DataFrame) -> None:
    met = {name: conditions(effects, losses, name) for name in CANDIDATES}
    assert met == {
        "mix_64": (True, False, False),
        "code": (False, False, False),
        "mathematics": (True, False, False),
    }
    assert all(worst(losses, name) > worst(losses, REFERENCE) for name in CANDIDATES)


def test_the_code_mix_does_not_stay_the_default_for_models_of_code(effects: pd.DataFrame) -> None:
    rows = less_the_reference(effects, "code").loc[QWEN]
    assert not rows["significant"]["code"], "code does not lose significantly less"
    worse = rows[rows["significant"] & (rows["value"] > 0)].index
    assert {*worse} - {""} == {"common_sense"}
