"""docs/findings.md and its figures are what the template makes of git's results; words follow intervals."""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from committed import committed, results_of

import findings
from findings import FILES, FORMS, PAGE, RATIOS, Effect, declared, page, percent, rows, share, sides, word

TEXT = PAGE.read_text(encoding="utf-8")
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
TRIPLE = re.compile(r"([−+]?\d[\d.]*) \(([−+]?\d[\d.]*) to ([−+]?\d[\d.]*)\)")


@pytest.fixture(autouse=True, scope="module")
def of_git() -> Iterator[None]:
    """Read the results as git has them, whatever a run has written since."""
    caches = findings.read, findings.label, findings.declared
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "RESULTS", committed() / "results")
        for each in caches:
            each.cache_clear()
        yield
    for each in caches:
        each.cache_clear()


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, read without any code of this suite."""
    with path.open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


def near(shown: str, exact: float) -> bool:
    """Tell whether a number is that of a file, within half of its last decimal."""
    given = float(shown.replace("−", "-").replace(",", ""))
    return abs(given - exact) <= 0.51 * 10 ** -len(shown.partition(".")[2])


def test_the_page_and_its_figures_are_what_the_template_makes_of_the_results() -> None:
    """So that a number or a word changed by hand is found; `python findings/findings.py` makes them again."""
    text, files = page()
    assert text == TEXT and len(TEXT.split()) <= 3000
    assert {path.name for path in FILES.iterdir()} == files.keys()
    for name, made in files.items():
        kept = (FILES / name).read_text(encoding="utf-8")
        assert (letters(kept) == letters(made)) if name.endswith(".svg") else (kept == made), name
        assert len(kept) < 60_000


def letters(svg: str) -> list[str]:
    """Return a figure's texts, with the numbers of effects, without axes, whose ticks matplotlib may move."""
    return [text for text in re.findall(r">([^<>]+)</text>", svg) if not NUMBER.fullmatch(text.strip())]


@pytest.mark.parametrize("outcome", FORMS)
def test_the_word_is_that_of_the_interval(outcome: str) -> None:
    nothing = int(outcome in RATIOS)
    found = {
        name: Effect(outcome, nothing + (low + high) / 2, nothing + low, nothing + high)
        for name, low, high in (("a", -0.4, -0.2), ("b", -0.4, 0.2), ("c", 0.2, 0.4))
    }
    found["d"] = Effect(outcome, 1.0, math.nan, math.nan)
    words = ["significantly closer", "no significant difference", "significantly farther", "no interval"]
    assert [word(effect, "closer", "farther") for effect in found.values()] == words
    cells = {"M, 20 %": found["a"], "M, 30 %": replace(found["a"], holm=0.01), "N, C4": found["b"]}
    cells |= {"N, 20 %": found["a"]}
    said = "significantly closer on M (20 %, 30 %*) and N (20 %); no significant difference on N (C4)"
    assert sides(cells, "closer", "farther") == said


def test_numbers_as_they_are_shown() -> None:
    shown = str(Effect("points", 3.3, 0.01, 6.5))
    assert shown == "+3.30 (+0.01 to +6.50)", "an end is never rounded to none"
    assert str(Effect("perplexity_ratio", 1.08, 1.002, 1.156, 0.01)) == "1.08 (1.002 to 1.16)*"
    assert str(Effect("js_distance", -0.02, -0.03, -0.01).turned()) == "+0.020 (+0.010 to +0.030)"
    assert str(Effect("quotient", 0.95, math.nan, math.nan)) == "0.95"


def test_every_interval_is_in_a_table() -> None:
    """Value and both ends of each are those of one row of a study's table, as they are or of the other side."""
    triples = set()
    for path in (committed() / "results").glob("*/*.csv"):
        for row in rows_of(path) if path.name != "results.csv" else ():
            for name in row:
                ends = [(f"{name}_low", f"{name}_high"), ("low", "high")]
                low, high = next(((a, b) for a, b in ends if a in row), ("", ""))
                if low and row[low] and name not in (low, high) and re.fullmatch(r"-?[\d.e+-]+", row[name]):
                    value, bottom, top = (float(row[column]) for column in (name, low, high))
                    triples |= {(value, bottom, top), (-value, -top, -bottom)}
    # Accuracies above a guess are levels, checked below.
    found = TRIPLE.findall(re.sub(r"a guess, \S+ \([^)]*\)", "", TEXT))
    assert len(found) > 60
    assert [shown for shown in found if not any(all(map(near, shown, exact)) for exact in triples)] == []


def test_the_accuracy_above_a_constant_answer_and_the_share_of_yes() -> None:
    """Of entropy at 20 %, by hand: less a guess among the choices, but in BoolQ less its commoner answer."""
    items = pd.read_parquet(results_of("untuned") / "items.parquet", filters=[("method", "=", "entropy")])
    items = items[(items["measure"] == "zeroshot") & (items["ratio"] == 0.2)]
    above = []
    for task, rows_of_task in items.groupby("task"):
        metric = "acc" if rows_of_task["acc_norm"].isna().all() else "acc_norm"
        guess = (1 / rows_of_task["loglikelihood"].map(len)).mean()
        constant = rows_of_task["target"].value_counts(normalize=True).max() if task == "boolq" else guess
        above.append(rows_of_task[metric].mean() - constant)
    said = f"entropy 20%, none: {100 * sum(above) / 7:+.1f} ("
    notes = [row["note"] for row in rows_of(results_of("untuned") / "claims.csv") if said in row["note"]]
    assert len(above) == 7 and notes
    dense = [("task", "=", "boolq"), ("method", "=", "dense"), ("recovery", "=", "none")]
    of = [("measure", "=", "zeroshot"), ("model", "=", "smollm2-135m-instruct-q4")]
    both = pd.read_parquet(results_of("recovery") / "items.parquet", filters=dense + of)["loglikelihood"]
    assert share("recovery", "dense", 0.0) == percent(sum(no < yes for no, yes in both) / 64)


def test_each_claim_has_one_row_and_its_verdict() -> None:
    table = [line for line in TEXT.splitlines() if " | [" in line or "| not run |" in line]
    every = {row["claim"]: row for row in rows_of(results_of("recovery") / "claims.csv")}
    assert len(table) == len(every) == len(declared()) == 19
    for line, (claim, found) in zip(table, declared().items(), strict=True):
        assert line.startswith(f"| {every[claim]['sentence'].rstrip('.')} (")
        assert ("| not run |" in line) == (not found)
        for row in found:
            kept = rows_of(results_of(row["study"]) / "claims.csv")
            of = [each for each in kept if each["claim"] == claim and each["verdict"] != "not run"]
            assert row["judged"] in {each["verdict"] for each in of}
            assert any(near(NUMBER.findall(str(row["effect"]))[0], float(each["effect"])) for each in of)


def test_the_recipe_is_the_plan_with_the_least_loss_as_the_page_says() -> None:
    found = rows("recipe", "losses.csv", "loss_ratio", against="none", recovery="linear")
    assert min(found, key=lambda name: found[name].value) == "Fisher, raw global"


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no js_distance"):
        rows("draws", "comparison.csv", "js_distance", method="entorpy")
