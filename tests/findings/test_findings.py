"""docs/findings.md and its figures are what the text makes of git's results, and its words follow the numbers."""

import csv
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from committed import committed, results_of

from findings.__main__ import main
from findings.cited import Cited
from findings.joint import analysed, joined
from findings.page import Findings
from findings.shared import Use, groups
from findings.sources import Joint
from findings.text import Text
from findings.words import objection
from hfprune.effects.verdicts import ClaimRow
from hfprune.errors import HfpruneError
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import EffectRow, read_effects
from hfprune.statistics.estimates import holm
from hfprune.statistics.outcomes import Draw

ROOT = Path(__file__).parents[2]
PAGE, FILES = ROOT / "docs/findings.md", ROOT / "docs/findings"
TEXT = PAGE.read_text(encoding="utf-8")
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
TRIPLE = re.compile(r"([−+]?\d[\d.]*) \(([−+]?\d[\d.]*) to ([−+]?\d[\d.]*)\)")


@pytest.fixture(scope="module", autouse=True)
def analysed_once() -> Iterator[None]:
    """Make each joint analysis of git's results once; tests change no item in their copies."""
    kept: dict[str, pd.DataFrame] = {}

    def once(joint: Joint, results: Path) -> pd.DataFrame:
        key = joint.model_dump_json()
        if key not in kept:
            kept[key] = analysed(joint, results)
        return kept[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("findings.page.analysed", once)
        yield


@pytest.fixture(scope="module")
def findings() -> Findings:
    """The page of what git has, whatever a run has written since."""
    return Findings(ROOT / "findings", committed() / "results", ROOT / "paper")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, read without any code of this suite."""
    with path.open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


def near(shown: str, exact: float) -> bool:
    """Tell whether a number is that of a file, within half of its last decimal."""
    given = float(shown.replace("−", "-").replace(",", ""))
    return abs(given - exact) <= 0.51 * 10 ** -len(shown.partition(".")[2])


def letters(svg: str) -> list[str]:
    """Return a figure's texts, with the numbers of effects, without axes, whose ticks matplotlib may move."""
    return [text for text in re.findall(r">([^<>]+)</text>", svg) if not NUMBER.fullmatch(text.strip())]


def test_the_page_and_its_figures_are_what_the_text_makes_of_the_results(findings: Findings) -> None:
    """So that a number or a word changed by hand is found; `snakemake findings` makes them again."""
    page, files = findings.rendered()
    assert page == TEXT
    assert {path.name for path in FILES.iterdir()} == files.keys()
    for name, text in files.items():
        kept = (FILES / name).read_text(encoding="utf-8")
        assert (letters(kept) == letters(text)) if name.endswith(".svg") else (kept == text), name
        assert len(kept) < 70_000


def test_the_abstract_is_short_and_has_no_bracket() -> None:
    abstract = TEXT.partition("# Findings\n")[2].partition("![")[0]
    assert 100 < len(abstract.split()) <= 250 and not re.search(r"[(\[*]", abstract)


def test_every_interval_is_in_a_table() -> None:
    """Value and both ends of each are those of one row of a table, as they are or of the other side."""
    triples = set()
    for path in [*(committed() / "results").glob("*/effects.csv"), *FILES.glob("*-and-*.csv")]:
        for row in rows_of(path):
            if row["low"]:
                value, low, high = (float(row[name]) for name in ("value", "low", "high"))
                triples |= {(value, low, high), (-value, -high, -low)}
                if row.get("neutral") in ("1", "1.0"):
                    triples.add((1 / value, 1 / high, 1 / low))
    found = TRIPLE.findall(TEXT)
    assert len(found) > 50
    assert [shown for shown in found if not any(all(map(near, shown, exact)) for exact in triples)] == []


def test_each_claim_has_one_row_and_its_verdict_knows_its_family() -> None:
    """By hand: Holm's method over the p-values of all rows of the table, and what it leaves of each verdict."""
    deciding = yaml.safe_load((ROOT / "findings/declared.yaml").read_text())["claims"]
    models = yaml.safe_load((ROOT / "findings/numbers.yaml").read_text())["models"]
    rows = []
    for claim, at in deciding.items():
        for model, study in at.items():
            for row in rows_of(results_of(study) / "claims.csv"):
                if (row["claim"], models.get(row["model"])) == (claim, model) and row["verdict"] != "not run":
                    rows.append(row)
    measured = [row for row in rows if row["basis"] == "measured"]
    known = [row for row in measured if row["p"]]
    for row, adjusted in zip(known, holm([float(row["p"]) for row in known]), strict=True):
        plain = {"leaning towards": "reproduced", "leaning against": "contradicted"}
        leaning = {sure: word for word, sure in plain.items()}
        said = plain.get(row["verdict"], row["verdict"])
        row["verdict"] = leaning.get(said, said) if adjusted >= 0.05 else said
    expected = Counter(row["verdict"] for row in rows)
    table = [line for line in TEXT.splitlines() if " | [" in line or "| not run |" in line]
    assert len(table) == 19
    shown = Counter(word for line in table for word in line.split(" | ")[6].split("<br>"))
    assert shown - Counter({"not run": shown["not run"]}) == expected
    assert {"reproduced", "contradicted", "leaning against", "not testable"} <= expected.keys()
    arithmetic = [row for row in rows if row["basis"] == "arithmetic"]
    assert {row["verdict"] for row in arithmetic} == {"true by arithmetic"}


def test_the_joint_analysis_is_of_the_draws_of_all_and_the_items_of_both(findings: Findings) -> None:
    """Accuracy without BoolQ, of entropy less the tuned dense model, recomputed from the items alone."""
    outcomes = []
    for study in ("headline", "recovery-before"):
        items = pd.read_parquet(results_of(study) / "items.parquet")
        items = items[
            (items["measure"] == "zeroshot") & (items["recovery"] == "lora") & (items["task"] != "boolq")
        ]
        items = items[items["model"].str.startswith("smollm2")]
        acc = items["acc_norm"].fillna(items["acc"])
        sides = [
            acc[(items["method"] == method) & (items["ratio"] == ratio)]
            for method, ratio in (("entropy", 0.2), ("dense", 0.0))
        ]
        by = ["task", "item", "draw"]
        both = [side.set_axis(pd.MultiIndex.from_frame(items.loc[side.index, by])) for side in sides]
        outcomes.append((both[0] - both[1]).unstack("draw"))
    together = pd.concat(outcomes, axis=1, join="inner")
    assert together.shape[1] == 6 and together.notna().all(axis=None)
    value = 100 * together.mean(axis=1).groupby("task").mean().mean()
    (cited,) = findings.number("tuned_joint")
    assert cited.effect.value == pytest.approx(value)
    assert (cited.row.draws, cited.row.n) == (6, len(together))


def test_draws_of_several_studies_share_the_items_that_all_have() -> None:
    first = {Draw(draw): {"a": pd.Series([1.0, 2.0, 3.0], pd.Index([5, 7, 9]))} for draw in (0, 1)}
    second = {Draw(2): {"a": pd.Series([4.0, 6.0], pd.Index([9, 5]))}}
    together = joined([first, second])
    assert [*together] == [Draw(0), Draw(1), Draw(2)]
    assert [items["a"].tolist() for items in together.values()] == [[1, 3], [1, 3], [6, 4]]


ROW = EffectRow(
    "reference", "m", "wikipedia", 64, 0.2, "a", "none", "b", "none", "points", "zeroshot", "points"
)


def cited(
    value: float,
    low: float,
    high: float,
    holm: float = np.nan,
    verdict: str = "",
    name: str = "x",
    bar: tuple[float, float] | None = None,
) -> Cited:
    row = ROW._replace(value=value, low=low, high=high, holm=holm)
    claim = ClaimRow("c", "m", "", "wikipedia", 64, 0.2, "points", verdict=verdict) if verdict else None
    return Cited(name, Effect(value, low, high, holm=holm), row, claim, bar=bar)


SURE, BEFORE, NONE = cited(-0.3, -0.4, -0.2, 0.01), cited(0.3, 0.1, 0.5, 0.2), cited(0.1, -0.1, 0.3, 1.0)


@pytest.mark.parametrize(
    ("phrase", "effects", "right"),
    [
        ("closer", [SURE], True),
        ("farther", [SURE], False),
        ("farther", [BEFORE], False),  # not after the correction
        ("leaning farther", [BEFORE], True),
        ("leaning to more", [BEFORE], True),
        ("leaning closer", [SURE], False),  # says less than the numbers do
        ("no significant difference", [NONE], True),
        ("no significant difference", [BEFORE], False),
        ("higher", [cited(0.3, 0.1, 0.5)], True),  # without a family, by the interval
        ("closer", [cited(-0.3, np.nan, np.nan)], False),
        ("closer in 1 of 3", [SURE, BEFORE, NONE], True),
        ("closer in 2 of 3", [SURE, BEFORE, NONE], False),
        ("closer in 1 of 2", [SURE, BEFORE, NONE], False),
        ("closer in all of 2", [SURE, SURE], True),
        ("none farther", [SURE, NONE], True),
        ("reproduced", [cited(1, 0, 2, verdict="reproduced")], True),
        ("reproduced", [cited(1, 0, 2, verdict="leaning towards")], False),
        ("2 not testable", [cited(1, 0, 2, verdict="not testable")] * 2, True),
    ],
)
def test_a_word_is_an_assertion(phrase: str, effects: list[Cited], right: bool) -> None:
    assert bool(objection(phrase, effects)) != right


def test_a_bar_is_met_or_missed() -> None:
    intervals = (0.43, 0.4, 0.46), (0.45, 0.3, 0.7), (0.54, 0.5, 0.6)
    met, wide, missed = (cited(*interval, bar=(0.5, 2 / 3)) for interval in intervals)
    assert not objection("met in 1 of 3", [met, wide, missed])
    assert objection("missed", [met]) and "asserts nothing" in objection("nice", [met])


def test_a_changed_sign_fails_with_the_sentence(tmp_path: Path) -> None:
    """In a copy of the results, as a rerun might give it."""
    results = Path(shutil.copytree(committed() / "results", tmp_path / "results"))
    path = results / "larger" / "effects.csv"
    rows = read_effects(path)
    wrong = (
        (rows["question"] == "reference")
        & (rows["method"] == "magnitude")
        & (rows["outcome"] == "js_distance")
    )
    rows.loc[wrong, ["value", "low", "high"]] = -rows.loc[wrong, ["value", "high", "low"]].to_numpy()
    rows.to_csv(path, index=False)
    said = failure(ROOT / "findings", results)
    number = next(i for i, line in enumerate(text_lines(), 1) if "random: farther}" in line)
    poor = "larger js_distance magnitude random"
    assert f"findings.md:{number}: {poor}: 'farther', but magnitude is −0.149 (−0.161 to −0.138)" in said


def test_a_mistake_is_one_line_of_the_command_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, home in (("results", committed()), ("paper", ROOT)):
        (tmp_path / name).symlink_to(home / name)
    texts = Path(shutil.copytree(ROOT / "findings", tmp_path / "findings"))
    (texts / "findings.md").write_text("It is {unknown}.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["findings", "--out", "docs/findings.md"])
    with pytest.raises(SystemExit) as end:
        main()
    said = str(end.value.code)
    assert said.startswith(
        "python -m findings: error: findings/findings.md:1: no number, study or claim 'unknown'"
    )
    assert "\n" not in said
    assert not (tmp_path / "docs").exists()


def text_lines() -> list[str]:
    return (ROOT / "findings/findings.md").read_text(encoding="utf-8").splitlines()


# On several lines of the text.
TEXT_MISTAKES = [
    ("{js_c4_gemma.relative:", "{js_c4_gema.relative:", "'js_c4_gema'; did you mean 'js_c4_gemma'?"),
    (
        "{by-layer js_distance first_ten",
        "{by-layer js_distance firs_ten",
        "'firs_ten'; did you mean 'first_ten'?",
    ),
    ("{larger js_distance magnitude.", "{largr js_distance magnitude.", "'largr'; did you mean 'larger'?"),
    ("{js_smollm2_20.relative: smaller}", "{js_smollm2_20.relative: larger}", "'larger', but SmolLM2"),
    ("three of four | 3 of 4", "four of four | 4 of 4", "but 3 of 4"),
    ("smollm2 boolq lora dense}", "smollm2 boolq lora dense: lower}", "words assert nothing of it"),
    (
        "{table7-before/draws.again 20%",
        "{table7-before/draws.agan 20%",
        "'draws.agan'; did you mean 'draws.again'?",
    ),
    (
        "{higher-jaccard qwen-1.5b:",
        "{higher-jaccard qwen-1.5b entropy:",
        "no row of higher-jaccard is 'entropy'",
    ),
]
# A declared analysis that the page does not report.
JOINT = r"\{(tuned_joint|headline-and-recovery)[^}]*\}"
MISTAKES = [
    # A number without its sign, and no word for the side of it.
    ("findings.md", "magnitude.size: | farther}", "magnitude.size}", "needs a word for it"),
    ("findings.md", JOINT, "", "is not reported"),
    ("findings.md", "{{figure tuned}}", "", "'figure tuned' is declared, and not used"),
    (
        "numbers.yaml",
        "effects:\n",
        "effects:\n  more: higher-jaccard\n",
        "'more' is declared, and not",
    ),
    ("figures.yaml", "summary:\n  lower-js", "summary:\n  lowr-js", "mean 'lower-js-distance'?"),
    ("numbers.yaml", "higher-jaccard qwen\n", "higher-jaccard lora\n", "no row of higher-jaccard is 'lora'"),
    (
        "numbers.yaml",
        "against distillation",
        "against distilation",
        "distilled_small: no row of table7-before is 'dist",
    ),
    (
        "numbers.yaml",
        "headline dense",
        "headlin dense",
        "no number, study or claim 'headlin'; did you mean 'headline'?",
    ),
    (
        "figures.yaml",
        "mechanism-before js_distance entropy\n",
        "mechanism-before js_distanc entropy\n",
        "mean 'js_distance'?",
    ),
    (
        "declared.yaml",
        "above-dense: {SmolLM2: headline",
        "above-dense: {SmolLM2: larger",
        "has no above-dense",
    ),
    ("tables.yaml", "confirmation:", "confirmed:", "'table confirmed' is declared, and not used"),
    ("tables.yaml", "study: families", "study: familes", "did you mean 'families'?"),
    ("joint.yaml", "analyses:\n", "analyses:\n  more: {}\n", "joint.yaml: analyses.more.declared"),
]


def failure(texts: Path, results: Path) -> str:
    """Return what is wrong with a page."""
    with pytest.raises(HfpruneError) as error:
        Findings(texts, results, ROOT / "paper").rendered()
    return str(error.value)


def said_of(texts: Path, file: str, edits: Iterable[tuple[str, str]]) -> str:
    """Return the error of a copy of the texts, edited."""
    shutil.copytree(ROOT / "findings", texts)
    text = (texts / file).read_text()
    for before, after in edits:
        pattern = before if before.startswith("\\") else re.escape(before)
        text, count = re.subn(pattern, lambda _, after=after: after, text)
        assert count
    (texts / file).write_text(text)
    return failure(texts, committed() / "results")


@pytest.mark.parametrize(("file", "before", "after", "message"), MISTAKES)
def test_mistakes_name_the_line_or_the_file(
    file: str, before: str, after: str, message: str, tmp_path: Path
) -> None:
    said = said_of(tmp_path / "findings", file, [(before, after)])
    assert message in said and "\n" not in said


def test_all_mistakes_of_the_text_are_told_at_once(tmp_path: Path) -> None:
    said = said_of(tmp_path / "findings", "findings.md", [edit[:2] for edit in TEXT_MISTAKES])
    lines = said.splitlines()
    assert len(lines) == len(TEXT_MISTAKES)
    for *_, message in TEXT_MISTAKES:
        assert len([line for line in lines if message in line]) == 1, message


def test_a_name_of_several_effects_takes_words_alone(tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("It is {a}.\n")
    both = [SURE, replace(NONE, row=ROW._replace(ratio=0.3))]
    text = Text(tmp_path / "text.md", lambda _: both, {})
    with pytest.raises(Exception, match=r"text\.md:1: a is 2 effects: x; x; add 20% or 30%"):
        text.rendered()


@pytest.mark.parametrize("base", [np.nan, 0.0])
def test_nothing_is_relative_to_an_unknown_outcome(base: float, tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("A pair.\n{a.relative: lower}\n")
    row = ROW._replace(base=base, value=-1, low=-2, high=-0.5)
    text = Text(tmp_path / "text.md", lambda _: [Cited.of_row("x", row, turned=False)], {})
    with pytest.raises(
        HfpruneError, match=r"text\.md:2: a\.relative: the other side's own outcome is unknown"
    ):
        text.rendered()
    turned = Cited.of_row("x", row, turned=True)
    assert turned.row.base == pytest.approx(base - 1, nan_ok=True)


def test_a_line_may_hold_a_block_beside_numbers(tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("{n} before, {{table x}} and {n} after\n")
    text = Text(tmp_path / "text.md", lambda _: "7", {"table": lambda name: f"[{name} {{n}}]"})
    assert text.rendered() == "7 before, [x {n}] and 7 after\n"


def test_the_share_of_the_commonest_answer_is_that_of_the_items() -> None:
    """Of the tuned dense SmolLM2 on BoolQ, by hand."""
    of = [("measure", "=", "zeroshot"), ("model", "=", "smollm2-135m-instruct-q4"), ("task", "=", "boolq")]
    of += [("method", "=", "dense"), ("recovery", "=", "lora")]
    items = pd.read_parquet(results_of("recovery-before") / "items.parquet", filters=of)
    shares = []
    for _, rows in items.groupby("draw"):
        yes = np.mean([no < yes for no, yes in rows["loglikelihood"]])
        shares.append(max(yes, 1 - yes))
    assert f"its commonest answer to {100 * np.mean(shares):.0f} %" in " ".join(TEXT.split())


def test_the_recipe_is_the_plan_with_the_least_loss_as_the_page_says() -> None:
    rows = read_effects(results_of("recipe-before") / "effects.csv")
    rows = rows[(rows["question"] == "loss") & (rows["recovery"] == "linear")]
    least = rows[rows["against_recovery"] == "none"].sort_values("value").iloc[0]
    assert least["method"] == "fisher_global"


def test_accuracies_above_a_constant_answer_by_hand() -> None:
    """Of entropy at 20 %: less a guess among the choices, but in BoolQ less its commoner answer."""
    items = pd.read_parquet(results_of("untuned") / "items.parquet", filters=[("method", "=", "entropy")])
    items = items[(items["measure"] == "zeroshot") & (items["ratio"] == 0.2)]
    above = []
    for task, rows_of_task in items.groupby("task"):
        metric = "acc" if rows_of_task["acc_norm"].isna().all() else "acc_norm"
        guess = (1 / rows_of_task["loglikelihood"].map(len)).mean()
        constant = rows_of_task["target"].value_counts(normalize=True).max() if task == "boolq" else guess
        above.append(rows_of_task[metric].mean() - constant)
    said = f"entropy 20 %, none: {100 * sum(above) / 7:+.1f} ("
    notes = [row["note"] for row in rows_of(results_of("untuned") / "claims.csv") if said in row["note"]]
    assert len(above) == 7 and notes


def test_a_turned_effect_is_relative_to_the_method(findings: Findings) -> None:
    """How far entropy's distance on Gemma is below cross-entropy's, as a share of the latter, from the items."""
    of = [("measure", "=", "fidelity"), ("ratio", "=", 0.08)]
    items = pd.read_parquet(results_of("table7-gemma") / "items.parquet", filters=of)
    means = items.groupby("method")["js_distance"].mean()
    share = 100 * (1 - means["entropy"] / means["cross_entropy"])
    assert f"{share:.1f} % on Gemma" in TEXT.partition("![")[0]
    (cited,) = findings.number("table7-gemma js_distance entropy against cross_entropy")
    assert cited.row.base == pytest.approx(means["cross_entropy"], rel=1e-5)


def test_a_turned_ratio_is_relative_to_the_method_too(findings: Findings) -> None:
    """The method's own perplexity is the same beside entropy's and beside the dense model's."""
    (turned,) = findings.select("candidates-larger perplexity_ratio entropy linear against fisher")
    (dense,) = findings.select("candidates-larger dense perplexity_ratio fisher linear")
    own = dense.row.base * dense.effect.value
    assert turned.row.base == pytest.approx(own, rel=1e-4) and turned.row.base != dense.row.base


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "table7-before js_distance entropy against cross_entropy",
            "is 2 effects: 20 %; 30 %; add 20% or 30%",
        ),
        (
            "table7-gemma entropy against cross_entropy",
            "are 'JS distance'; add js_distance or top15_jaccard or ",
        ),
        (
            "mechanism-before js_distance entropy",
            "; add against cross_entropy or against cross_entropy_drawn or ",
        ),
        ("recovery-kl 20% bpb cross_entropy none against lora", "no row of recovery-kl is"),
        # Two methods are no comparison of the two, and no silent change of the sides.
        (
            "table7-gemma js_distance entropy cross_entropy",
            "no row of table7-gemma is 'js_distance entropy cross",
        ),
        ("recovery-kl fidelity cross_entropy against dense", "is 'fidelity'"),
        ("mechanism-before js_distance cross_entropy against fisher", "; add the question pair"),
    ],
)
def test_words_that_leave_a_choice_say_what_to_add(
    words: str, message: str, findings: Findings, tmp_path: Path
) -> None:
    (tmp_path / "text.md").write_text(f"It is {{{words}}}.\n")
    with pytest.raises(HfpruneError, match=re.escape("text.md:1: ")) as error:
        Text(tmp_path / "text.md", findings.number, {}).rendered()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_words_select_the_row_of_the_table_whichever_side_stands_first(findings: Findings) -> None:
    """Read without any code of this suite: the table has cross-entropy less entropy."""
    rows = rows_of(results_of("table7-gemma") / "effects.csv")
    (row,) = (row for row in rows if (row["method"], row["outcome"]) == ("cross_entropy", "js_distance"))
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    (straight,) = findings.number("table7-gemma gemma 8% js_distance cross_entropy")
    (turned,) = findings.number("table7-gemma gemma 8% js_distance entropy against cross_entropy")
    for cited, ends in ((straight, (value, low, high)), (turned, (-value, -high, -low))):
        assert (cited.effect.value, cited.effect.low, cited.effect.high) == ends
        assert (cited.row.value, cited.row.low, cited.row.high) == ends
    assert straight.row.base == float(row["base"]) and (turned.row.method, turned.row.against) == (
        "entropy",
        "cross_entropy",
    )


def test_studies_with_something_in_common_are_named_together() -> None:
    """Parts of a file that overlap, and draws of one sample; a group within another is not told apart."""
    draws = [Use("samples", "s", draw, draw + 1) for draw in range(3)]
    used = {
        "a": [Use("texts", "f", 0, 10), *draws],
        "b": [Use("texts", "f", 5, 20), *draws[1:]],
        "c": [Use("texts", "f", 15, 30), draws[2]],
        "d": [Use("texts", "g", 5, 10), Use("samples", "t", 2, 3)],
    }
    several = {"a", "b"}, {"b", "c"}, {"a", "b", "c"}
    whats = ["texts"], ["texts"], ["samples"]
    assert groups(used) == dict(zip(map(frozenset, several), whats, strict=True))


def test_the_page_says_which_studies_read_the_same() -> None:
    """Two of one calibration, some of the same training pairs, and one with samples of its own."""
    rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    shared = [(what, {*re.findall("`(.+?)`", names)}) for what, *more in rows for names in more]
    assert ("calibration samples, documents of the calibration", {"domains", "methods"}) in shared
    assert any(what == "training pairs" and {"headline", "recovery-long"} <= names for what, names in shared)
    samples = [names for what, names in shared if "calibration samples" in what]
    assert samples and not any({"table7-before", "dose-before"} <= names for names in samples)
