"""docs/findings.md is what its template makes of the results, and the template's own words claim nothing."""

import csv
import re
from dataclasses import replace
from itertools import product

import findings
import pandas as pd
import pytest
import statements
from findings import PAGE, TEMPLATE, say, table
from smoke import ROOT
from statements import OUTCOMES, Effect, compared, effects, factors, kept, losses

TEMPLATE_TEXT = TEMPLATE.read_text(encoding="utf-8")
# What free text does not say. A column of a table, a name of a study and the paper's tables are no claims.
COMPARES = re.compile(
    r"\b(nearer|farther|closer|lower|higher|better|worse|best|worst|ahead|behind|beats?|wins?|superior|inferior"
    r"|outperforms?|faster|slower|more|less|fewer|larger|smaller|improves?d?|helps?|hurts?|harms?|loses?|gains"
    r"|matters?|equal|equivalent|as (?:good|well|bad) as|reproduced|contradicted|confirmed)\b",
    re.IGNORECASE,
)
DIGITS = re.compile(r"\b\d")  # but not those of C4
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
# The words for an interval below no effect, across it and above it: whether better is lower or higher.
WORDS = {
    "points": ("less accurate", "no difference is shown", "more accurate"),
    "bpb": ("fewer bits", "no difference is shown", "more bits"),
    "js_distance": ("nearer", "no difference is shown", "farther"),
    "perplexity_ratio": ("lower", "no difference is shown", "higher"),
}


def own_words(template: str) -> str:
    """Return the text of a template without what is filled in, code, and the targets of links."""
    return re.sub(r"\{\{.*?\}\}|```.*?```|`[^`]*`|\]\([^)]*\)", " ", template, flags=re.DOTALL)


def boldness(template: str) -> list[str]:
    """Return what a template says of its own: numbers, and words that compare."""
    text = own_words(template)
    return [match[0] for pattern in (COMPARES, DIGITS) for match in pattern.finditer(text)]


def effect(outcome: str, value: float, low: float, high: float, holm: float = 1.0, **about: str) -> Effect:
    return Effect(
        "a-study/effects.csv", OUTCOMES[outcome], value, low, high, holm, {"method": "wanda"} | about
    )


def rows_of(study: str, file: str) -> list[dict[str, str]]:
    """Return the rows of a study's table, read without any code of this suite."""
    with (ROOT / "results" / study / file).open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


def test_the_page_is_what_the_template_makes_of_the_results() -> None:
    """So that a number or a word changed by hand is found; `python benchmarks/findings.py` makes it again."""
    assert PAGE.read_text(encoding="utf-8") == findings.page()


def test_the_templates_own_words_have_no_number_and_compare_nothing() -> None:
    assert boldness(TEMPLATE_TEXT) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Entropy is nearer to the dense model.",
        "LoRA closes half of it, 0.5.",
        "It wins everywhere.",
        "Cross-entropy is as good as entropy.",
        "Table 7 is reproduced.",
        "Code loses most.",
        "The choice matters after repair.",
        "Entropy improved all three tasks.",
    ],
)
def test_a_sentence_that_claims_something_by_itself_is_found(sentence: str) -> None:
    """Added after every paragraph of the template."""
    paragraphs = TEMPLATE_TEXT.split("\n\n")
    for at in range(1, len(paragraphs)):
        assert boldness("\n\n".join([*paragraphs[:at], sentence, *paragraphs[at:]]))


@pytest.mark.parametrize(("outcome", "side"), [*product(WORDS, range(3))])
def test_the_word_is_that_of_the_interval(outcome: str, side: int) -> None:
    nothing = OUTCOMES[outcome].nothing
    low, high = [(-0.4, -0.2), (-0.4, 0.2), (0.2, 0.4)][side]
    text = say([effect(outcome, nothing + (low + high) / 2, nothing + low, nothing + high)])
    assert [word for word in WORDS[outcome] if word in text.lower()] == [WORDS[outcome][side]]


def test_what_is_contrary_stands_beside_what_is_not() -> None:
    found = [
        effect("js_distance", -0.02, -0.03, -0.01, 0.01, model="A"),
        effect("js_distance", 0.02, 0.0101, 0.0299, model="B"),
        effect("js_distance", 0.002, -0.01, 0.014, model="C"),
        replace(effect("js_distance", 0.002, 0, 0, model="D"), low=float("nan"), high=float("nan")),
    ]
    assert " ".join(say(found).split("\n\n")[0].split()) == (
        "- **JS distance to the dense model.** Nearer: wanda on A −0.020 (−0.030 to −0.010)*. "
        "Farther: wanda on B +0.0200 (+0.0101 to +0.0299). "
        "No difference is shown: wanda on C +0.002 (−0.010 to +0.014). No interval: wanda on D +0.0020."
    )
    assert " ".join(say(found, numbers=False).split()) == (
        "- **JS distance to the dense model.** Nearer: wanda (on A*). Farther: wanda (on B). "
        "No difference is shown: wanda (on C). No interval: wanda (on D)."
    )
    assert table(found).splitlines()[2] == "| A | −0.020 (−0.030 to −0.010)* |"


def test_an_end_is_never_rounded_to_no_effect() -> None:
    assert effect("points", 3.3, 0.01, 6.5).number == "+3.30 (+0.01 to +6.50)"
    assert effect("perplexity_ratio", 1.08, 1.002, 1.156).number == "1.08 (1.002 to 1.16)"


def test_all_models_and_ratios_are_spoken_of() -> None:
    for study in ("families", "recipe-confirm", "untuned"):
        found = losses(study) if study == "recipe-confirm" else compared(study)
        file = "losses.csv" if study == "recipe-confirm" else "comparison.csv"
        cells = {(row["model"], row["ratio"]) for row in rows_of(study, file)}
        assert len({(effect.about["model"], effect.about["ratio"]) for effect in found}) == len(cells)


def test_numbers_of_tables_are_those_of_the_file() -> None:
    """Each within half of its last decimal, or of its last figure where that is finer than it was rounded."""
    rows = [row for row in rows_of("recovery", "effects.csv") if row["question"] == "against_entropy"]
    shown = table(effects("recovery"))
    order = ["cross_entropy", "sdmprune", "taylor", "magnitude", "random"]
    recoveries = ["none", "linear", "lora"]
    lines_of = dict(zip(product(order, recoveries), shown.splitlines()[2:], strict=False))
    outcomes = ["points", "bpb", "js_distance", "perplexity_ratio"]
    for row in rows:
        cell = lines_of[row["method"], row["recovery"]].split(" | ")[2 + outcomes.index(row["outcome"])]
        exact = [float(row[name]) for name in ("value", "value_low", "value_high")]
        for text, number in zip(NUMBER.findall(cell), exact, strict=True):
            given = float(text.replace("−", "-").replace(",", ""))
            assert given == pytest.approx(number, rel=0.06, abs=0.51 * 10 ** -len(text.partition(".")[2]))
        assert ("*" in cell) == (float(row["holm"]) < 0.05)


@pytest.mark.parametrize(
    "speak", [lambda: effects("recovery"), lambda: compared("families"), lambda: factors("recipe")]
)
def test_a_sentence_follows_its_file(speak, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the signs of all differences turned, each effect is on the other side, and none that covers zero is."""
    before = [effect for effect in speak() if effect.outcome.nothing == 0]
    original = statements.effect_of

    def turned(file: str, outcome: str, row: pd.Series, column: str, about) -> Effect:
        ends = {f"{column}_low": -row[f"{column}_high"], f"{column}_high": -row[f"{column}_low"]}
        return original(file, outcome, pd.Series({**row, column: -row[column], **ends}), column, about)

    monkeypatch.setattr(statements, "effect_of", turned)
    after = [effect for effect in speak() if effect.outcome.nothing == 0]
    other = {outcome.below: outcome.above for outcome in OUTCOMES.values()}
    other |= {above: below for below, above in other.items()}
    assert [other.get(effect.verdict, effect.verdict) for effect in before] == [
        effect.verdict for effect in after
    ]
    assert len({effect.verdict for effect in before}) > 2


def test_a_name_that_the_file_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no method"):
        kept(pd.DataFrame({"method": ["entropy"]}), {"method": ["entorpy"]})


def test_lines_can_be_read() -> None:
    prose = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if not line.startswith(("|", "*"))
    ]
    assert max(map(len, prose)) <= 130
