"""The findings' sentence on equal margins says what the study's declared limit gives, applied here anew."""

import re

import pandas as pd
from committed import ROOT, results_of

from hfprune.results.effect_rows import read_effects


def test_the_criteria_are_equivalent_by_the_declared_limit_and_the_text_has_it() -> None:
    """A tenth of the standard deviation of the dense model's margins over questions, by the study's file."""
    items = pd.read_parquet(results_of("accuracy") / "items.parquet", columns=["method", "margin"])
    limit = items.loc[items["method"] == "dense", "margin"].std() / 10
    effects = read_effects(results_of("accuracy") / "effects.csv")
    rows = effects.query(
        "question == 'reference' and outcome == 'margin' and task == '' "
        "and method in ('cross_entropy', 'distillation') and against == 'entropy'"
    )
    assert {*zip(rows["method"], rows["ratio"], rows["recovery"], strict=True)} == {
        *(("cross_entropy", ratio, recovery) for ratio in (0.1, 0.2) for recovery in ("none", "linear")),
        *(("distillation", 0.2, recovery) for recovery in ("none", "linear")),
    }
    assert rows["low"].gt(-limit).all() and rows["high"].lt(limit).all()
    text = (ROOT / "findings/findings.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"standard deviation over questions, (0\.\d+)\.", text)
    assert said == f"{limit:.2f}"
