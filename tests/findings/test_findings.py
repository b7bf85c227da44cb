"""Pages of findings and figures are what the texts make of git's results, and words follow the numbers."""

import csv
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from committed import committed, results_of

from findings.__main__ import main
from findings.cited import Cited
from findings.page import Findings
from findings.text import Text
from findings.words import objection
from hfprune.effects.verdicts import ClaimRow
from hfprune.errors import HfpruneError
from hfprune.results.effect import Effect
from hfprune.results.effect_rows import EffectRow, read_effects
from hfprune.statistics.estimates import holm

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs/findings"
PAGES = {
    path.name: (ROOT / "docs" / path.name).read_text(encoding="utf-8")
    for path in sorted((ROOT / "findings").glob("*.md"))
}
TEXT = PAGES["findings.md"]
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
TRIPLE = re.compile(r"([−+]?\d[\d.,]*) \(([−+]?\d[\d.,]*) to ([−+]?\d[\d.,]*)\)")


@pytest.fixture(scope="module")
def findings() -> Findings:
    """The pages of what git has, whatever a run has written since."""
    return Findings(ROOT / "findings", committed() / "results", ROOT / "paper")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, read without any code of this suite."""
    with path.open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


def near(shown: str, exact: float) -> bool:
    """Tell whether a number is that of a file, within half of its last decimal; thousands are rounded."""
    given = float(shown.replace("−", "-").replace(",", ""))
    within = 0.51 * 10 ** -len(shown.partition(".")[2]) if "," not in shown else 0.015 * abs(given)
    return abs(given - exact) <= within


def letters(svg: str) -> list[str]:
    """Return a figure's texts, with the numbers of effects, without axes, whose ticks matplotlib may move."""
    return [text for text in re.findall(r">([^<>]+)</text>", svg) if not NUMBER.fullmatch(text.strip())]


def test_the_pages_and_their_figures_are_what_the_texts_make_of_the_results(findings: Findings) -> None:
    """So that a number or a word changed by hand is found; `snakemake findings` makes them again."""
    pages, files = findings.rendered()
    assert pages == PAGES
    assert {path.name for path in FILES.iterdir()} == files.keys()
    for name, text in files.items():
        kept = (FILES / name).read_text(encoding="utf-8")
        assert (letters(kept) == letters(text)) if name.endswith(".svg") else (kept == text), name
        assert len(kept) < 70_000


def test_the_abstract_is_short_and_has_no_bracket() -> None:
    abstract = TEXT.partition("# Findings\n")[2].partition("![")[0]
    assert 100 < len(abstract.split()) <= 200 and not re.search(r"[(\[*]", abstract)


def test_the_page_is_read_in_ten_minutes() -> None:
    assert len(re.findall(r"[A-Za-z][\w-]*", TEXT)) <= 2000


def test_every_interval_is_in_a_table() -> None:
    """Value and both ends of each are those of one row of a table, as they are or of the other side."""
    triples = set()
    for path in (committed() / "results").glob("*/effects.csv"):
        for row in rows_of(path):
            if row["low"]:
                value, low, high = (float(row[name]) for name in ("value", "low", "high"))
                triples |= {(value, low, high), (-value, -high, -low)}
                if row.get("neutral") in ("1", "1.0"):
                    triples.add((1 / value, 1 / high, 1 / low))
    found = [shown for page in PAGES.values() for shown in TRIPLE.findall(page)]
    assert len(found) > 150
    assert [shown for shown in found if not any(all(map(near, shown, exact)) for exact in triples)] == []


def test_each_claim_has_one_row_and_its_verdict_knows_its_family() -> None:
    """By hand: Holm's method over the p-values of all rows of the table, and what it leaves of each verdict."""
    deciding = yaml.safe_load((ROOT / "findings/declared.yaml").read_text())["claims"]
    models = yaml.safe_load((ROOT / "findings/numbers.yaml").read_text())["models"]
    rows = []
    for claim, at in deciding.items():
        for model, study in at.items():
            first = next(iter(yaml.safe_load((results_of(study) / "study.yaml").read_text())["calibrations"]))
            for row in rows_of(results_of(study) / "claims.csv"):
                known = row["verdict"] != "not run" and row["calibration"] in (first, "none")
                if (row["claim"], models.get(row["model"])) == (claim, model) and known:
                    rows.append(row)
    measured = [row for row in rows if row["basis"] == "measured"]
    known = [row for row in measured if row["p"]]
    for row, adjusted in zip(known, holm([float(row["p"]) for row in known]), strict=True):
        plain = {"leaning towards": "reproduced", "leaning against": "contradicted"}
        leaning = {sure: word for word, sure in plain.items()}
        said = plain.get(row["verdict"], row["verdict"])
        row["verdict"] = leaning.get(said, said) if adjusted >= 0.05 else said
    expected = Counter(row["verdict"] for row in rows)
    lines = [line for page in PAGES.values() for line in page.splitlines()]
    table = [line for line in lines if " | [" in line or "| not run |" in line]
    shown = Counter(word for line in table for word in line.split(" | ")[7].split("<br>"))
    assert shown - Counter({"not run": shown["not run"]}) == expected
    assert {"reproduced", "leaning against", "not testable"} <= expected.keys()
    arithmetic = [row for row in rows if row["basis"] == "arithmetic"]
    assert {row["verdict"] for row in arithmetic} == {"true by arithmetic"}


ROW = EffectRow(
    "reference", "m", "wikipedia", 64, 0.2, "a", "none", "b", "none", "points", "zeroshot", "points"
)


def cited(
    value: float, low: float, high: float, holm: float = np.nan, verdict: str = "", name: str = "x"
) -> Cited:
    row = ROW._replace(value=value, low=low, high=high, holm=holm)
    claim = ClaimRow("c", "m", "", "wikipedia", 64, 0.2, "points", verdict=verdict) if verdict else None
    return Cited(name, Effect(value, low, high, holm=holm), row, claim)


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


def test_words_without_a_direction_assert_nothing() -> None:
    assert "asserts nothing" in objection("nice", [SURE])


def test_a_changed_sign_fails_with_the_sentence(tmp_path: Path) -> None:
    """In a copy of the results, as a rerun might give it."""
    results = Path(shutil.copytree(committed() / "results", tmp_path / "results"))
    path = results / "accuracy" / "effects.csv"
    rows = read_effects(path)
    wrong = (
        (rows["question"] == "reference")
        & (rows["method"] == "entropy_attention")
        & (rows["recovery"] == "none")
        & (rows["outcome"] == "js_distance")
    )
    rows.loc[wrong, ["value", "low", "high"]] = -rows.loc[wrong, ["value", "high", "low"]].to_numpy()
    rows.to_csv(path, index=False)
    said = failure(ROOT / "findings", results)
    number = next(i for i, line in enumerate(text_lines(), 1) if "attention_js.size: | farther}" in line)
    assert f"findings.md:{number}: attention_js.size: 'farther', but Qwen" in said and "is −0.210 (" in said


@pytest.mark.parametrize(
    ("study", "query", "message"),
    [
        ("recovery", "claim == 'above-dense'", "which its own interval does not hold"),
        ("cost", "claim == 'fewer-flops'", "which its own interval does not hold"),
        ("accuracy", "question == 'gain'", "which its own interval does not hold"),
        ("table7", "claim == 'lower-js-distance'", "but another row with these sides has"),
    ],
)
def test_a_changed_row_of_a_table_fails_too(study: str, query: str, message: str, tmp_path: Path) -> None:
    """With its interval where only the row that compares the same sides tells."""
    results = Path(shutil.copytree(committed() / "results", tmp_path / "results"))
    path = results / study / "effects.csv"
    rows = read_effects(path)
    changed = rows.query(query).index
    assert len(changed)
    moved = ["value", "low", "high"] if "another" in message else ["value"]
    width = rows.loc[changed, "high"] - rows.loc[changed, "low"]
    rows.loc[changed, moved] = rows.loc[changed, moved].add(1 + width, axis=0)
    rows.to_csv(path, index=False)
    assert message in (said := failure(ROOT / "findings", results)) and f"{study}/effects.csv" in said


def test_a_mistake_is_one_line_of_the_command_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, home in (("results", committed()), ("paper", ROOT)):
        (tmp_path / name).symlink_to(home / name)
    texts = Path(shutil.copytree(ROOT / "findings", tmp_path / "findings"))
    (texts / "findings.md").write_text("It is {unknown}.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["findings", "--out", "docs"])
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
    ("{accuracy 20% margin", "{accurac 20% margin", "'accurac'; did you mean 'accuracy'?"),
    ("{recipe dense qwen code mix bpb", "{recipe dense qwen code mix bp", "'bp'; did you mean 'bpb'?"),
    ("{gemma_code: closer}", "{gemma_code: farther}", "'farther', but Gemma"),
    ("fewer | fewer in 3 of 3", "fewer | fewer in 2 of 3", "but 3 of 3"),
    (
        "64 js_distance cross_entropy against entropy}",
        "64 js_distance cross_entropy against entropy: lower}",
        "words assert nothing of it",
    ),
    ("{tuned_smollm2: a", "{above-tuned-dense entropy: a", "no row of above-tuned-dense is 'entropy'"),
    ("{dose_slopes: not change", "{dose_slops: not change", "'dose_slops'; did you mean 'dose_slopes'?"),
]
MISTAKES = [
    # A number without its sign, and no word for the side of it.
    ("findings.md", "attention_js.size: | farther}", "attention_js.size}", "needs a word for it"),
    ("findings.md", "{dose/draws.draws_sd", "{dose/draws.draws_s", "'draws.draws_s'; did"),
    ("findings.md", "{{figure tuned}}", "", "'figure tuned' is declared, and no text uses it"),
    (
        "numbers.yaml",
        "effects:\n",
        "effects:\n  more: higher-jaccard\n",
        "'more' is declared, and no text uses it",
    ),
    ("figures.yaml", "summary:\n  lower-js", "summary:\n  lowr-js", "mean 'lower-js-distance'?"),
    (
        "numbers.yaml",
        "lower-js-distance qwen,",
        "lower-js-distance lora,",
        "no row of lower-js-distance is 'lora'",
    ),
    (
        "numbers.yaml",
        "held_out_loss step-0 ent",
        "held_out_los step-0 ent",
        "gap_0: no row of recovery is 'held_out_los'",
    ),
    (
        "numbers.yaml",
        "recipe calibration",
        "recip calibration",
        "no number, study or claim 'recip'; did you mean 'recipe'?",
    ),
    (
        "figures.yaml",
        "recovery js_distance entropy",
        "recovery js_distanc entropy",
        "mean 'js_distance'?",
    ),
    (
        "declared.yaml",
        "above-dense: {SmolLM2: recovery",
        "above-dense: {SmolLM2: table7",
        "has no above-dense",
    ),
    ("appendix.md", "{{table others}}", "{{table other}}", "mean 'others'?"),
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
        text.numbered()


@pytest.mark.parametrize("base", [np.nan, 0.0])
def test_nothing_is_relative_to_an_unknown_outcome(base: float, tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("A pair.\n{a.relative: lower}\n")
    row = ROW._replace(base=base, value=-1, low=-2, high=-0.5)
    text = Text(tmp_path / "text.md", lambda _: [Cited.of_row("x", row, turned=False)], {})
    with pytest.raises(
        HfpruneError, match=r"text\.md:2: a\.relative: the other side's own outcome is unknown"
    ):
        text.numbered()
    turned = Cited.of_row("x", row, turned=True)
    assert turned.row.base == pytest.approx(base - 1, nan_ok=True)


def test_a_line_may_hold_a_block_beside_numbers(tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("{n} before, {{table x}} and {n} after\n")
    text = Text(tmp_path / "text.md", lambda _: "7", {"table": lambda name: f"[{name} {{n}}]"})
    assert text.completed(text.numbered()) == "7 before, [x {n}] and 7 after\n"


def test_a_turned_effect_is_relative_to_the_method(findings: Findings) -> None:
    """How far entropy's distance on Gemma is below cross-entropy's, as a share of the latter, from the items."""
    of = [("measure", "=", "fidelity"), ("model", "=", "gemma-3-270m-q4"), ("ratio", "=", 0.08)]
    items = pd.read_parquet(results_of("mechanism") / "items.parquet", filters=of)
    means = items.groupby("method")["js_distance"].mean()
    share = 100 * (1 - means["entropy"] / means["cross_entropy"])
    (cited,) = findings.number("mechanism gemma js_distance entropy against cross_entropy")
    assert 100 * abs(cited.effect.value / cited.row.base) == pytest.approx(share, rel=1e-4)
    assert cited.row.base == pytest.approx(means["cross_entropy"], rel=1e-5)


def test_a_turned_ratio_is_relative_to_the_method_too(findings: Findings) -> None:
    """The method's own perplexity is the same beside entropy's and beside the dense model's."""
    words = "smollm2 c4 perplexity_ratio"
    (turned,) = findings.select(f"recipe {words} entropy against fisher")
    (dense,) = findings.select(f"recipe dense {words} fisher")
    own = dense.row.base * dense.effect.value
    assert turned.row.base == pytest.approx(own, rel=1e-4) and turned.row.base != dense.row.base


def test_nothing_significant_falls_out() -> None:
    """Every comparison of methods or calibrations that holds after correction stands in a row of a table.

    Those of `table7` between two methods stand in the tables by model, calibration and reading.
    """
    shown = [line for page in PAGES.values() for line in page.splitlines() if line.startswith("| ")]
    by_text = [line for line in shown if "results/" not in line]
    cited = {study for page in PAGES.values() for study in re.findall(r"results/([\w-]+)/study", page)}
    of_pruning = {"dense", "untuned_dense", "gain", "own_slope", "loss", "training"}
    count = 0
    for study in cited:
        lines = [line for line in shown if line.startswith(f"| [{study}](../results/{study}/effects.csv) | ")]
        lines += by_text if study == "table7" else []
        for row in rows_of(results_of(study) / "effects.csv"):
            if row["question"] not in of_pruning and row["holm"] and float(row["holm"]) < 0.05:
                value, low, high = (float(row[name]) for name in ("value", "low", "high"))
                ends = [(value, low, high), (-value, -high, -low)]
                triples = [triple for line in lines for triple in TRIPLE.findall(line)]
                assert any(all(map(near, triple, side)) for triple in triples for side in ends), row
                count += 1
    assert count > 60


def test_what_the_intervals_exclude_is_so() -> None:
    """Of the published differences: 0.009 at 30 % on SmolLM2 and Qwen, and 0.002 at 20 % on SmolLM2 alone."""
    published = pd.read_csv(ROOT / "paper/tables/table7.csv").query("metric == 'js_distance'")
    value = published.set_index(["method", "ratio"])["value"]
    rows = read_effects(results_of("table7") / "effects.csv")
    rows = rows.query("claim == 'lower-js-distance' and calibration == 'c4'")
    assert len(rows) == 4
    excluded = set()
    for row in rows.itertuples():
        difference = value["entropy", row.ratio] - value["cross_entropy", row.ratio]
        assert difference == pytest.approx({0.2: -0.002, 0.3: -0.009}[row.ratio])
        if not row.low <= difference <= row.high:
            excluded.add((row.model.partition("-")[0], row.ratio))
    assert excluded == {("smollm2", 0.2), ("smollm2", 0.3), ("qwen2.5", 0.3)}


@pytest.mark.parametrize(
    ("page", "metric"),
    [("findings.md", "js_distance"), ("appendix.md", "top15_jaccard"), ("appendix.md", "kl_divergence")],
)
def test_effects_stand_by_calibration_and_reading(page: str, metric: str) -> None:
    """Each of `table7` in the row of its model and calibration and the column of its text, entropy first."""
    models = yaml.safe_load((ROOT / "findings/numbers.yaml").read_text())["models"]
    calibrations = {"c4": "C4", "wikipedia": "Wikipedia", "code": "code", "own": "own text"}
    readings = {"": "C4", "_wikipedia": "Wikipedia", "_code": "code", "_stories": "stories"}
    heads = "| model, removed | calibrated on | evaluated on C4 |"
    tables = [part.split("\n\n")[0] for part in PAGES[page].split(heads)[1:]]
    asked = {"question": "reference", "metric": metric, "against": "entropy"}
    rows = [row for row in rows_of(results_of("table7") / "effects.csv") if asked.items() <= row.items()]
    found = []
    for table in tables:
        columns = ["C4", *re.findall(r"evaluated on (\w+)", table)]
        cells: dict[tuple[str, str, str], str] = {}
        for line in table.splitlines()[2:]:
            model, calibration, *effects = line.strip("| ").split(" | ")
            cells |= {
                (model, calibration, text): effect for text, effect in zip(columns, effects, strict=True)
            }
        exact = {}
        for row in rows:
            model = f"{models[row['model']]}, {100 * float(row['ratio']):g} %"
            place = model, calibrations[row["calibration"]], readings[row["measure"].removeprefix("fidelity")]
            exact[place] = tuple(-float(row[name]) for name in ("value", "high", "low"))
        shown = {place: TRIPLE.search(cell) for place, cell in cells.items() if cell != "–"}
        same = shown.keys() == exact.keys()
        found.append(same and all(all(map(near, shown[at].groups(), exact[at])) for at in exact))
    assert len(rows) == 2 * (4 * 4 + 4) + 4 and found.count(True) == 1


def test_tables_have_names_of_texts_for_readers() -> None:
    """And none of the catalogue's; names of studies are links."""
    catalogue = yaml.safe_load((ROOT / "config/assets.yaml").read_text())
    names = "|".join(name for name in catalogue["corpora"] if "-" in name)
    lines = [line for page in PAGES.values() for line in page.splitlines() if line.startswith("| ")]
    assert [line for line in lines if re.search(rf"\b({names})\b", line)] == []
    rows = [line for line in PAGES["appendix.md"].splitlines() if re.match(r"\| \[", line)]
    assert len(rows) > 60 and all(re.match(r"\| \[([\w-]+)\]\(\.\./results/\1/", line) for line in rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "table7 smollm2 c4 js_distance entropy against cross_entropy",
            "is 2 effects: 20 %; 30 %; add 20% or 30%",
        ),
        (
            "table7 gemma entropy against cross_entropy",
            "are 'JS distance'; add js_distance or top15_jaccard or ",
        ),
        ("accuracy 20% js_distance entropy none", "; add against cross_entropy or against distillation or "),
        ("recovery 20% bpb sdmprune none against lora", "no row of recovery is"),
        # Two methods are no comparison of the two, and no silent change of the sides.
        (
            "table7 gemma js_distance entropy cross_entropy",
            "no row of table7 is 'gemma js_distance entropy cross",
        ),
        ("accuracy fidelity cross_entropy against dense", "is 'fidelity'"),
        ("recipe mix bpb entropy against entropy", "; add the question calibration"),
    ],
)
def test_words_that_leave_a_choice_say_what_to_add(
    words: str, message: str, findings: Findings, tmp_path: Path
) -> None:
    (tmp_path / "text.md").write_text(f"It is {{{words}}}.\n")
    with pytest.raises(HfpruneError, match=re.escape("text.md:1: ")) as error:
        Text(tmp_path / "text.md", findings.number, {}).numbered()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_words_select_the_row_of_the_table_whichever_side_stands_first(findings: Findings) -> None:
    """Read without any code of this suite: the table has cross-entropy less entropy."""
    rows = rows_of(results_of("table7") / "effects.csv")
    asked = ("reference", "gemma-3-270m-q4", "cross_entropy", "js_distance")
    (row,) = (
        row for row in rows if tuple(row[at] for at in ("question", "model", "method", "outcome")) == asked
    )
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    (straight,) = findings.number("table7 gemma 8% js_distance cross_entropy")
    (turned,) = findings.number("table7 gemma 8% js_distance entropy against cross_entropy")
    for cited, ends in ((straight, (value, low, high)), (turned, (-value, -high, -low))):
        assert (cited.effect.value, cited.effect.low, cited.effect.high) == ends
        assert (cited.row.value, cited.row.low, cited.row.high) == ends
    assert straight.row.base == float(row["base"]) and (turned.row.method, turned.row.against) == (
        "entropy",
        "cross_entropy",
    )
