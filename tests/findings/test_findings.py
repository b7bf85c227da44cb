"""docs/findings.md is what its template makes of the results."""

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import product

import pandas as pd
import pytest
import statements
from committed import committed, results_of
from statements import OUTCOMES, Effect, compared, effects, factors, kept, losses, lost, ranks

import findings
from findings import PAGE, say, table

TEXT = PAGE.read_text(encoding="utf-8")
# The words for an interval below no effect, across it and above it: whether better is lower or higher.
WORDS = {
    "points": ("less accurate", "no difference is shown", "more accurate"),
    "bpb": ("fewer bits", "no difference is shown", "more bits"),
    "js_distance": ("nearer", "no difference is shown", "farther"),
    "top15_jaccard": ("lower", "no difference is shown", "higher"),
    "perplexity_ratio": ("lower", "no difference is shown", "higher"),
    "perplexity_c4.perplexity_ratio": ("lower", "no difference is shown", "higher"),
    "fidelity_code.js_distance": ("nearer", "no difference is shown", "farther"),
    "perplexity_code.perplexity_ratio": ("lower", "no difference is shown", "higher"),
    "loss_ratio": ("a lower loss", "no difference is shown", "a higher loss"),
    "difference": ("lower", "no difference is shown", "higher"),
    "correlation": ("negative", "none is shown", "positive"),
}
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
TRIPLE = re.compile(r"([−+]?\d[\d,.]*) \(([−+]?\d[\d,.]*) to ([−+]?\d[\d,.]*)\)(\*(?!\*)|\*(?=\*\*))?")


@pytest.fixture(autouse=True)
def of_the_last_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the results that git holds."""
    monkeypatch.setattr(statements, "ROOT", committed())


def effect(outcome: str, value: float, low: float, high: float, holm: float = 1.0, **about: str) -> Effect:
    return Effect(
        "a-study/effects.csv", OUTCOMES[outcome], value, low, high, holm, {"method": "wanda"} | about
    )


def rows_of(study: str, file: str) -> list[dict[str, str]]:
    """Return the rows of a study's table, read without any code of this suite."""
    with (results_of(study) / file).open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


def near(shown: str, exact: float) -> bool:
    """Tell whether a number is that of a file, within half of its last decimal or of its second figure."""
    given = float(shown.replace("−", "-").replace(",", ""))
    return given == pytest.approx(exact, rel=0.06, abs=0.51 * 10 ** -len(shown.partition(".")[2]))


def test_the_page_is_what_the_template_makes_of_the_results() -> None:
    """So that a number or a word changed by hand is found; `python findings/findings.py` makes it again."""
    assert PAGE.read_text(encoding="utf-8") == findings.page()


@pytest.mark.parametrize(("outcome", "side"), [*product(WORDS, range(3))])
def test_the_word_is_that_of_the_interval(outcome: str, side: int) -> None:
    nothing = OUTCOMES[outcome].nothing
    low, high = [(-0.4, -0.2), (-0.4, 0.2), (0.2, 0.4)][side]
    text = say([effect(outcome, nothing + (low + high) / 2, nothing + low, nothing + high)]).lower()
    assert [word for word in WORDS[outcome] if f"{word}:" in text] == [WORDS[outcome][side]]


def test_a_change_of_a_difference_falls_or_rises() -> None:
    """Not "fewer bits", of a method that has more."""
    (magnitude,) = (
        found
        for found in effects("recovery", "change", outcomes=["bpb"], recovery=["after LoRA"])
        if found.about["method"] == "magnitude"
    )
    assert magnitude.high < 0
    assert "**Bits per byte of right answers.** Falls: magnitude" in say([magnitude])
    assert "the difference from entropy after recovery" in say([magnitude]).lower()


def test_what_is_contrary_stands_beside_what_is_not() -> None:
    found = [
        effect("js_distance", -0.02, -0.03, -0.01, 0.01, model="A"),
        effect("js_distance", 0.02, 0.0101, 0.0299, model="B"),
        effect("js_distance", 0.002, -0.01, 0.014, model="C"),
        effect("js_distance", 0.002, math.nan, math.nan, model="D"),
    ]
    assert " ".join(say(found).split("\n\n")[0].split()) == (
        "- **JS distance to the dense model.** Nearer: wanda on A −0.020 (−0.030 to −0.010)*. "
        "Farther: wanda on B +0.0200 (+0.0101 to +0.0299). "
        "No difference is shown: wanda on C +0.002 (−0.010 to +0.014). No interval: wanda on D +0.0020."
    )
    assert table(found).splitlines()[2:6] == [
        "| wanda | A | **−0.020 (−0.030 to −0.010)*** |",
        "| wanda | B | **+0.0200 (+0.0101 to +0.0299)** |",
        "| wanda | C | +0.002 (−0.010 to +0.014) |",
        "| wanda | D | +0.0020 |",
    ]


def test_an_end_is_never_rounded_to_no_effect() -> None:
    assert effect("points", 3.3, 0.01, 6.5).number == "+3.30 (+0.01 to +6.50)"
    assert effect("perplexity_ratio", 1.08, 1.002, 1.156).number == "1.08 (1.002 to 1.16)"


def test_all_models_and_ratios_are_spoken_of() -> None:
    for study, file, found in (
        ("families", "comparison.csv", compared("families")),
        ("recipe-confirm", "losses.csv", losses("recipe-confirm")),
        ("untuned", "comparison.csv", effects("untuned")),
    ):
        cells = {(row["model"], row["ratio"]) for row in rows_of(study, file)}
        assert len({(effect.about["model"], effect.about["ratio"]) for effect in found}) == len(cells)


def test_every_number_of_a_list_or_table_is_in_the_file_under_it() -> None:
    """Value, both ends and star are those of one row and column of it."""
    blocks = re.split(r"^ *\*[^*\n]*rom (\[[^*\n]*\.csv\))\.\*$", TEXT, flags=re.MULTILINE)
    checked = 0
    for block, line in zip(blocks[0::2], blocks[1::2], strict=False):
        sources = re.findall(r"\[([\w./-]+\.csv)\]", line)
        triples = {}
        for row in (row for source in sources for row in rows_of(*source.rsplit("/", 1))):
            for name in row:
                ends = [(f"{name}_low", f"{name}_high"), ("low", "high")]
                low, high = next(((a, b) for a, b in ends if a in row), ("", ""))
                if low and row[low] and name not in (low, high) and re.fullmatch(r"-?[\d.e+-]+", row[name]):
                    holm = row.get(f"{name}_holm") or row.get("holm") or "nan"
                    triples[float(row[name]), float(row[low]), float(row[high])] = float(holm) < 0.05
        for *shown, star in TRIPLE.findall(block[max(block.rfind("\n#"), 0) :]):
            found = [
                holds
                for exact, holds in triples.items()
                if all(near(text, number) for text, number in zip(shown, exact, strict=True))
            ]
            assert bool(star) in found, (sources, shown, star)
            checked += 1
    assert checked > 400


def test_rows_and_columns_of_a_table_are_those_of_the_file() -> None:
    rows = [row for row in rows_of("recovery", "effects.csv") if row["question"] == "against_entropy"]
    order = ["cross_entropy", "sdmprune", "taylor", "magnitude", "random"]
    places = product(order, ["none", "linear", "lora"])
    lines_of = dict(zip(places, table(effects("recovery")).splitlines()[2:], strict=False))
    outcomes = ["points", "bpb", "js_distance", "perplexity_ratio"]
    for row in rows:
        cell = lines_of[row["method"], row["recovery"]].split(" | ")[2 + outcomes.index(row["outcome"])]
        exact = [float(row[name]) for name in ("value", "value_low", "value_high")]
        assert all(near(text, number) for text, number in zip(NUMBER.findall(cell), exact, strict=True))


def test_verdicts_are_those_of_the_files() -> None:
    """Each row of claims, and none but repeated ones and those of size and speed left out."""
    shown = findings.claims("untuned", "draws").splitlines()
    rows = [line.strip("| ").split(" | ") for line in shown if line.startswith("| [")]
    expected = [
        (row["verdict"], f"{float(row['ratio']):.0%}".replace("%", " %"), float(row["effect"]))
        for study in ("untuned", "draws")
        for row in rows_of(study, "claims.csv")
        if row["verdict"] != "not run" and row["unit"] != "ratio"
    ]
    assert len(rows) == len(expected)
    for row in rows:
        assert any(
            (row[6], row[2]) == known[:2] and near(row[4].split()[0], known[2]) for known in expected
        ), row
    counted = " ".join(findings.verdicts("untuned", "draws").split())
    assert f"Of {len(expected)} verdicts" in counted
    on_accuracy = [row for row in rows_of("untuned", "claims.csv") if row["unit"] == "points"]
    inconclusive = sum(row["verdict"] == "inconclusive" for row in on_accuracy)
    assert f"on accuracy, 1 *contradicted* and {inconclusive} *inconclusive*" in counted


def test_the_recipe_is_the_plan_with_the_least_loss() -> None:
    """As the page says in its own words."""
    least = min(losses("recipe"), key=lambda effect: effect.value)
    assert (least.about["method"], least.about["recovery"]) == ("Fisher, raw global", "solved again")


def test_two_of_three_draws_at_thirty_per_cent_have_the_very_same_plans() -> None:
    """As the page says of `recovery-30` and `untuned`."""

    def plan(study: str, method: str, seed: int) -> str:
        records = pd.read_parquet(results_of(study) / "records.parquet")
        of = f"method == '{method}' and ratio == 0.3 and seed == {seed} and recovery == 'none'"
        (inputs,) = records.query(f"measure == 'fidelity' and {of}")["inputs"]
        return json.loads(inputs)["plan"]

    for method in ("entropy", "cross_entropy"):
        same = [plan("recovery-30", method, seed) == plan("untuned", method, seed) for seed in range(3)]
        assert same == [True, True, False]


def test_how_often_the_dense_model_is_right() -> None:
    """The mean over tasks of the normalised accuracy, or else the accuracy, of the rows themselves."""
    right = {"none": {}, "lora": {}}
    for row in rows_of("recovery", "results.csv"):
        accuracy = row["measure"] == "zeroshot" and row["metric"] in ("acc", "acc_norm")
        if row["method"] == "dense" and accuracy and row["seed"]:
            kept = right[row["recovery"]].setdefault(row["task"], {})
            kept.setdefault(row["metric"], []).append(float(row["value"]))
    means = [
        100 * sum(sum(x := kinds.get("acc_norm", kinds.get("acc"))) / len(x) for kinds in tasks.values()) / 7
        for tasks in right.values()
    ]
    said = findings.accuracy("recovery")
    assert f"{means[0]:.1f} % on SmolLM2 as it is, {means[1]:.1f} % on SmolLM2 after LoRA" in said
    assert f"{100 * (0.75 + 1 / 3 + 1.5) / 7:.1f} %" in said, "a quarter thrice, a third, and a half thrice"


@pytest.mark.parametrize(
    "speak",
    [
        lambda: effects("recovery"),
        lambda: compared("families"),
        lambda: factors("recipe"),
        lambda: losses("recipe-confirm"),
        lambda: lost("families", "gold_bpb"),
        lambda: ranks("outcomes"),
    ],
)
def test_a_sentence_follows_its_file(
    speak: Callable[[], list[Effect]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all differences and the logarithms of all ratios turned, each effect is on the other side."""
    before = speak()
    original = statements.effect_of

    def turned(file: str, outcome: str, row: pd.Series, column: str, about: Sequence[str]) -> Effect:
        turn = (lambda x: -x) if OUTCOMES[outcome].nothing == 0 else (lambda x: 1 / x)
        ends = {f"{column}_low": turn(row[f"{column}_high"]), f"{column}_high": turn(row[f"{column}_low"])}
        return original(file, outcome, pd.Series({**row, column: turn(row[column]), **ends}), column, about)

    monkeypatch.setattr(statements, "effect_of", turned)
    for one, other in zip(before, speak(), strict=True):
        sides = {one.outcome.below: one.outcome.above, one.outcome.above: one.outcome.below}
        assert other.verdict == sides.get(one.verdict, one.verdict)
    assert len({effect.verdict for effect in before}) > 1


def test_a_name_that_the_file_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no method"):
        kept(pd.DataFrame({"method": ["entropy"]}), {"method": ["entorpy"]})


def test_lines_can_be_read() -> None:
    prose = [line for line in TEXT.splitlines() if not line.lstrip().startswith(("|", "*", "**"))]
    assert max(map(len, prose)) <= 130
