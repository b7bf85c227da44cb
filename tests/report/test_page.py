"""The page's content, without a browser: `tests/workflow/test_page.py` opens it in one."""

import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from command_line import failure, run
from committed import part_of, results_of
from synthetic import PAPER, TEXTS, study_of_texts

from hfprune.effects.condition import DETECTABLE, THRESHOLD
from hfprune.page import render
from hfprune.page.render import write_page
from hfprune.page.study_results import read_study
from hfprune.report.drawing.figure_files import write_figures
from hfprune.report.table_files import make_table
from hfprune.results.effect_rows import read_effects
from hfprune.results.reader import Results

SMOLLM2 = "smollm2-135m-instruct-q4"
GEMMA = "gemma-3-270m-q4"
STUDIES = METHODS, DRAWS = (
    part_of("mechanism", GEMMA, 0.08, "c4"),
    part_of("table7", SMOLLM2, 0.3, "wikipedia"),
)


class Elements(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.style = self.words = self._inside = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        elif self._inside != "script":
            self.words += re.sub(r"\s+", " ", data)


def page_of(folder: Path, out: Path) -> Elements:
    write_page([folder], PAPER, out / "report.html")
    return Elements(out / "report.html")


@pytest.fixture
def copied(tmp_path: Path, words_only: None) -> Path:
    return Path(shutil.copytree(METHODS, tmp_path / "mechanism"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Elements:
    out = tmp_path_factory.mktemp("page") / "report.html"
    run("page", "--results", METHODS, "--results", DRAWS, "--paper", PAPER, "--out", out)
    return Elements(out)


def test_every_claim_and_every_study_is_there(both: Elements) -> None:
    for folder in STUDIES:
        claims = pd.read_csv(folder / "claims.csv")
        assert all(sentence in both.words for sentence in claims["sentence"])
        assert all(verdict in both.words for verdict in claims["verdict"])
        assert folder.name in both.words
    lines = [attributes for tag, attributes in both.elements if attributes.get("class") == "verdicts"]
    ran = [{*pd.read_csv(folder / "claims.csv").query("verdict != 'not run'")["claim"]} for folder in STUDIES]
    assert len(lines) == claims["claim"].nunique() + len(set.union(*ran)), "once a study if it ran in any"
    cards = [attributes for tag, attributes in both.elements if tag == "article" and "class" in attributes]
    assert len(cards) == 1 + 1, "one for each study, of one text"


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_every_number_of_every_method_is_there(both: Elements, folder: Path) -> None:
    values = read_study(folder, PAPER, folder).values
    assert all(text in both.words for name in ("shown", "interval", "effect_shown") for text in values[name])
    keys = ["measure", "metric", "task", "method", "calibration", "sequences", "ratio"]
    expected = pd.read_csv(folder / "results.csv").dropna(subset="draw").groupby(keys)["value"].mean()
    found = values[values["measure"].isin(["fidelity", "perplexity"])].set_index(keys)["value"]
    pd.testing.assert_series_equal(found, expected[found.index])
    compared = read_effects(folder / "effects.csv").query(
        "question == 'reference' and metric == 'js_distance'"
    )
    at = ["method", "measure", "ratio"]
    shown = values[values["metric"] == "js_distance"].drop(columns="n")
    effects = shown.merge(compared[[*at, "value"]], on=at, suffixes=("", "_kept"))
    assert len(effects) == len(compared) > 0
    assert effects["effect"].to_numpy() == pytest.approx(effects["value_kept"].to_numpy())


def test_figures_are_those_of_the_command_with_their_values(both: Elements, tmp_path: Path) -> None:
    write_figures(METHODS, PAPER, tmp_path, ["effects", "answer"], ["svg"])
    for name in ("effects", "answer"):
        drawn = re.findall(r"<text[^>]*>([^<]+)</text>", (tmp_path / f"{name}.svg").read_text())
        assert len(drawn) > 10 and all(" ".join(unescape(text).split()) in both.words for text in drawn)
        labels = [found.get("aria-label", "") for _, found in both.elements]
        assert f"Values of the figure {name} of mechanism" in labels
    ids = [found["id"] for _, found in both.elements if "id" in found]
    assert len(ids) == len({*ids}) and "mechanism-answer-figure_1" in ids
    links = [value for _, found in both.elements for name, value in found.items() if name.endswith("href")]
    assert {link[1:] for link in links if link.startswith("#")} <= {*ids}


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take seconds."""
    monkeypatch.setattr(render, "figures_of", lambda study: {})


def test_the_answer_counts_both_sides_after_holm_and_a_single_draw_has_no_number_for_a_sign(
    both: Elements, copied: Path, tmp_path: Path
) -> None:
    effects = read_effects(copied / "effects.csv")
    rows = effects.query("question == 'reference' and outcome == 'js_distance'")
    assert {*rows["against"]} == {"entropy"} and {*rows["ratio"]} == {0.08}
    better = (rows["high"] < 0) & (rows["holm"] < 0.05)
    assert better.sum() == 2 and " 2 are nearer, 0 farther, and " in both.words
    effects.loc[better.idxmax(), "holm"] = 0.06
    effects.to_csv(copied / "effects.csv", index=False)
    assert " 1 nearer, 0 farther, and " in page_of(copied, tmp_path).words.replace("1 is nearer", "1 nearer")
    assert re.search(r"○\s*2 ×\s*one draw", page_of(results_of("demo"), tmp_path).words)


def test_the_answer_is_by_the_primary_outcome_of_the_study(words_only: None, tmp_path: Path) -> None:
    page = page_of(results_of("recovery"), tmp_path)
    assert "Which pruned model needs the fewest bits for right answers?" in page.words
    rows = read_effects(results_of("recovery") / "effects.csv").query("question == 'reference'")
    effect = rows.query("method == 'sdmprune' and outcome == 'bpb' and recovery == 'none'").iloc[0]
    assert re.search(
        rf"differ significantly in Bits per byte.*a difference of \+{effect['value']:.2f}", page.words
    )


def test_the_best_stands_beside_the_next_and_no_winner_is_named_that_cannot_be_told_apart(
    words_only: None, tmp_path: Path
) -> None:
    apart = page_of(DRAWS, tmp_path).words
    assert re.search(r"The next, Cross-entropy, differs from entropy on the same documents by \+\d", apart)
    words = page_of(results_of("demo"), tmp_path).words
    assert "do not differ significantly in JS distance" in words and "has the lowest JS distance" not in words
    assert re.search(r"Entropy, the lowest of \d+, and Cross-entropy\s+do not differ significantly", words)
    assert not re.search(r"[+−\W]nan\b", words), "a missing interval is left out"


def test_the_difference_from_another_reference_is_not_said_of_the_papers_method(
    words_only: None, tmp_path: Path
) -> None:
    """Without entropy, methods are compared with the first criterion, each on either text."""
    study = study_of_texts(tmp_path, ["fisher", "wanda"])
    rows = read_effects(study / "effects.csv").query("question == 'reference' and outcome == 'js_distance'")
    shown = rows.set_index("calibration")["value"]
    assert {*rows["against"]} == {"fisher"} and len(shown) == 2
    words = " ".join(page_of(study, tmp_path).words.split())
    for label, text in zip(TEXTS, shown.index, strict=True):
        _, _, card = words.partition(f"tiny-llama, {label}, 20 % removed")
        assert card.strip().startswith("Wanda-sp has the lowest JS distance")
        said = f"The difference from fisher on the same documents is {shown[text]:+.4f}".replace("-", "−")
        assert said in card[:400]
    assert "the paper’s method" not in words and "do not differ significantly in" not in words


def test_the_page_loads_nothing(both: Elements) -> None:
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in both.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not loading & attributes.keys()
        assert not attributes.get("href", "#").startswith(("http:", "https:", "//", "javascript:"))
    assert both.style and not re.search(r"@import|url\(", both.style)
    policy = next(found["content"] for _, found in both.elements if "http-equiv" in found)
    assert "default-src 'none'" in policy and "http" not in policy


def test_words_of_a_study_cannot_become_elements(copied: Path) -> None:
    hostile = "</script><script>alert(1)</script><!--"
    claims = pd.read_csv(copied / "claims.csv")
    claims.loc[0, ["sentence", "note", "verdict"]] = hostile
    claims.to_csv(copied / "claims.csv", index=False)
    for path in copied.glob("*.csv"):
        path.write_text(re.sub(r"\bfisher(?=,)", hostile, path.read_text()))
    pd.read_parquet(records := copied / "records.parquet").replace("fisher", hostile).to_parquet(records)
    plain, changed = page_of(METHODS, copied.parent), page_of(copied, copied.parent)
    scripts = [[tag for tag, _ in page.elements].count("script") for page in (plain, changed)]
    assert scripts[0] == scripts[1] and hostile in changed.words


def test_the_tidy_table_and_its_names_are_enough(words_only: None, tmp_path: Path) -> None:
    for name in ("results.csv", "study.yaml", "records.parquet"):
        shutil.copy(METHODS / name, tmp_path)
    words = page_of(tmp_path, tmp_path).words
    assert "stays nearest the dense model" in words
    assert "claims were not tested yet" in words
    assert "The paper's Table 7 beside ours" in words and "Every method beside the reference" not in words


def test_what_check_found_is_on_the_page(copied: Path) -> None:
    table = pd.read_csv(copied / "results.csv")
    row = table.query("metric == 'js_distance' and draw.isna() and ratio > 0").index[0]
    table.loc[row, "value"] = 0.99
    table.to_csv(copied / "results.csv", index=False)
    run("check", "--results", copied, "--against", METHODS, "--out", copied / "check.md")
    page = page_of(copied, copied.parent)
    assert "Not the same numbers" in page.words and "→ 0.99 (" in page.words
    assert any(attributes.get("href", "").endswith("check.md") for _, attributes in page.elements)
    assert "| fidelity |" not in page.words, "the table of counts stays in its file"


def test_mistakes_end_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "header").mkdir()
    shutil.copy(METHODS / "study.yaml", tmp_path / "header")
    lines = (METHODS / "results.csv").read_text().splitlines(keepends=True)
    (tmp_path / "header/results.csv").write_text(lines[0])
    out = tmp_path / "report.html"
    for results, message in (
        ([METHODS, METHODS], "two results folders are of one study, 'mechanism'"),
        ([tmp_path], "run `hfprune collect` first"),
        ([tmp_path / "header"], "results.csv holds no result; run `hfprune collect` first"),
    ):
        assert message in failure("page", "--results", *results, "--paper", PAPER, "--out", out)
        assert not out.exists()


CLAIMS = yaml.safe_load((PAPER / "claims.yaml").read_text())["claims"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["id"])
def test_a_claim_is_shown_with_the_condition_that_it_is_judged_by(claim: dict, both: Elements) -> None:
    """Of every claim, also by arithmetic, with slack, and of about the published number."""
    rows = pd.read_csv(METHODS / "claims.csv").query(f"claim == '{claim['id']}'")
    (condition,) = rows["condition"].unique()
    ratio, relation = claim.get("effect") == "ratio", claim["relation"]
    margin = claim.get("margin") and f"{100 * claim['margin']:g} %" if ratio else f"{claim.get('margin')}"
    threshold = claim.get("threshold", 1 if ratio else 0)
    than = "the published effect" if threshold == "published" else f"{threshold:g}"
    expected = {"higher": f"above {than}", "lower": f"below {than}", "about": f"within {margin} of {than}"}
    ends = {
        "about": "",
        "published": f", with {margin} of slack" if "margin" in claim else "",
        "number": f"; within {margin} of it, the sides are equivalent" if "margin" in claim else "",
    }
    kind = "about" if relation == "about" else "published" if threshold == "published" else "number"
    assert condition == f"the claim holds {expected[relation]}{ends[kind]}"
    line = both.words.split(rows["sentence"].iloc[0], 1)[1]
    assert line.split("Effect: ", 1)[1].split("; ", 1)[1].startswith(f"{condition}.")
    if ratio and kind == "number":
        times, less = re.search(r"about (\d+) times|(\d+) %", claim["sentence"]).groups()
        stated = float(times or less) - 0.5
        assert (threshold if times else 100 * (1 - threshold)) == pytest.approx(stated), "as the legend says"


def test_thresholds_and_detectable_effects_of_quotients_are_explained(both: Elements) -> None:
    assert f"every model and ratio. {THRESHOLD} {DETECTABLE}" in both.words
    claims = make_table("claims", Results(results_of("cost"), PAPER))
    assert THRESHOLD in claims.notes
    assert DETECTABLE in " ".join(claims.more["faster-scoring"].notes)
