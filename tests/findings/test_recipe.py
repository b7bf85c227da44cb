"""The page on the default recipe says what the study's declared rule gives, applied here to its effects anew."""

from itertools import product

import pandas as pd
import pytest
from committed import results_of

from hfprune.results.effect_rows import read_effects

REFERENCE = ("entropy", "c4")
DEFAULT = ("fisher_global", "mix")
CANDIDATES = {*product(("entropy", "fisher", "fisher_global"), ("c4", "mix"))} - {REFERENCE}
# The limits that config/studies/recipe.yaml declares, in bits per byte and as quotients of perplexities.
LIMITS = {"gold_bpb": 0.03, "gold_bpb_bos": 0.03, "perplexity": 1.05, "perplexity_c4": 1.05}


@pytest.fixture(scope="module")
def effects() -> pd.DataFrame:
    return read_effects(results_of("recipe") / "effects.csv")


def high_ends(effects: pd.DataFrame, method: str, calibration: str) -> pd.DataFrame:
    """Return the rows of a candidate less the reference, in the outcomes that have a limit."""
    of = (
        (effects["against"] == REFERENCE[0])
        & (effects["method"] == method)
        & (effects["calibration"] == calibration)
        & (effects["task"] == "")
        & effects["measure"].isin([*LIMITS])
        & (effects["question"] == ("reference" if calibration == REFERENCE[1] else "calibration"))
    )
    rows = effects[of]
    assert len(rows) == 9, "three models, three outcomes each"
    return rows.assign(within=rows["high"] < rows["measure"].map(LIMITS))


def test_no_candidate_is_within_every_limit(effects: pd.DataFrame) -> None:
    passed = [name for name in CANDIDATES if high_ends(effects, *name)["within"].all()]
    assert len(CANDIDATES) == 5 and passed == []


def test_the_default_is_within_the_limit_of_right_answers_and_beyond_that_of_perplexity(effects) -> None:
    rows = high_ends(effects, *DEFAULT)
    assert rows[rows["metric"] == "bpb"]["within"].all()
    beyond = rows[~rows["within"]]
    assert {*zip(beyond["model"], beyond["measure"], strict=True)} == {
        ("smollm2-135m-instruct-q4", "perplexity"),
        ("gemma-3-270m-q4", "perplexity"),
        ("gemma-3-270m-q4", "perplexity_c4"),
    }


@pytest.mark.parametrize("model", ["smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4"])
def test_code_loses_most_after_c4_and_less_than_half_as_much_after_the_mix(effects, model: str) -> None:
    rows = effects.query(
        f"question == 'dense' and method == 'fisher_global' and model == '{model}' and task != ''"
    )
    added = rows.pivot_table(index="task", columns="calibration", values="value")
    assert added["c4"].idxmax() == "code"
    assert added.loc["code", "mix"] < added.loc["code", "c4"] / 2
