"""The page's content, without a browser: `tests/workflow/test_page.py` opens it in one."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import failure, run
from committed import results_of
from scipy.stats import t
from synthetic import PAPER

from hfprune.page.vega import MOST, vega_lite
from hfprune.page.writing import write_page
from hfprune.report.charts import Axis, Chart, span
from hfprune.report.style import Look

STUDIES = METHODS, DRAWS = results_of("methods"), results_of("draws")


class Elements(HTMLParser):
    """Every element with its attributes, the texts of scripts and styles, and all words outside them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.raw: dict[str, str] = {}
        self.words = ""
        self._inside = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag in ("script", "style") else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.words += re.sub(r"\s+", " ", data)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Elements:
    """The page of the two committed studies."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    run("page", "--results", METHODS, "--results", DRAWS, "--paper", PAPER, "--out", out)
    return Elements(out)


def rows(page: Elements) -> pd.DataFrame:
    data = json.loads(page.raw["data"])
    return pd.DataFrame(data["rows"], columns=data["columns"])


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
    assert len(cards) == 2, "side by side"


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_numbers_are_those_of_the_csv(both: Elements, folder: Path) -> None:
    shown = rows(both).query("study == @folder.name")
    tidy = pd.read_csv(folder / "results.csv").dropna(subset="seed")
    by = ["method", "ratio", "recovery"]
    for measure, metric, task, key in (
        ("fidelity", "js_distance", "c4-sample-heldout", "fidelity.js_distance.c4-sample-heldout"),
        ("perplexity", "perplexity", "wikipedia-sample", "perplexity.perplexity.wikipedia-sample"),
        ("perplexity", "perplexity", "c4-sample", "perplexity.perplexity.c4-sample"),
    ):
        own = tidy[(tidy["measure"] == measure) & (tidy["metric"] == metric) & (tidy["task"] == task)]
        expected = own.groupby(["method", "ratio"])["value"].mean()
        found = shown[shown["measure"] == key].set_index(["method", "ratio"])["value"]
        pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())
    compared = pd.read_csv(folder / "comparison.csv").query("seed.isna() and js_distance.notna()")
    places = compared.merge(shown[shown["measure"].str.contains("js_distance")], on=by[:2], how="left")
    np.testing.assert_allclose(places["effect"].astype(float), places["js_distance"])
    assert len(compared) == {"methods": 21, "draws": 2}[folder.name]


def test_the_answer_names_the_nearest_method_and_how_sure(both: Elements) -> None:
    values = pd.read_csv(METHODS / "results.csv").query(
        "metric == 'js_distance' and ratio == 0.2 and seed == seed"
    )
    nearest = values.groupby("method")["value"].mean().sort_values()
    assert nearest.index[0] == "entropy_global"
    effect = pd.read_csv(METHODS / "comparison.csv").query("method == 'entropy_global'").iloc[0]
    low, value, high = (
        f"{effect[name]:+.3f}".replace("-", "−")
        for name in ("js_distance_low", "js_distance", "js_distance_high")
    )
    card = both.words.partition("methods")[2]
    assert re.search(rf"has the lowest JS distance\s*: *{nearest.iloc[0]:.3f}", both.words)
    assert f"is {value} (95 % interval {low} to {high})" in card


def test_the_answer_is_by_the_primary_outcome_of_the_study(tmp_path: Path) -> None:
    page = page_of("untuned", tmp_path / "report.html")
    assert "Which pruned model needs the fewest bits for right answers?" in page.words
    effect = pd.read_csv(results_of("untuned") / "comparison.csv").query("method == 'cross_entropy'").iloc[0]
    assert effect["primary"] == "bpb"
    assert re.search(rf"told apart by Bits per byte.*a difference of \+{effect['bpb']:.3f}", page.words)


def page_of(study: str, out: Path) -> Elements:
    run("page", "--results", results_of(study), "--paper", PAPER, "--out", out)
    return Elements(out)


def test_the_best_stands_beside_the_next_and_no_winner_is_named_that_cannot_be_told_apart(
    tmp_path: Path,
) -> None:
    apart = page_of("draws", tmp_path / "draws.html").words
    assert re.search(r"The next, Cross-entropy, differs from entropy on the same documents by \+\d", apart)
    words = page_of("demo", tmp_path / "demo.html").words
    assert "cannot be told apart by JS distance" in words and "has the lowest JS distance" not in words
    assert re.search(r"Entropy and Cross-entropy\s+cannot be told apart", words)


def test_the_difference_from_another_reference_is_not_said_of_the_papers_method(tmp_path: Path) -> None:
    """Entropy on Wikipedia, ranked over all layers, is compared with entropy on Wikipedia."""
    folder = tmp_path / "methods"
    shutil.copytree(METHODS, folder)
    text = (folder / "results.csv").read_text()
    best, times = re.subn(r"(,entropy_global_wikipedia,.*,js_distance),[^,]+,", r"\1,0.1,", text)
    (folder / "results.csv").write_text(best)
    assert times == 4, "three draws and their level"
    run("page", "--results", folder, "--paper", PAPER, "--out", tmp_path / "report.html")
    words = " ".join(Elements(tmp_path / "report.html").words.split())
    assert "Entropy, global, Wikipedia has the lowest JS distance" in words
    assert (
        "from entropy wikipedia on the same documents is" in words and "cannot be told apart by" not in words
    )


def test_a_missing_interval_is_left_out(tmp_path: Path) -> None:
    page = page_of("demo", tmp_path / "demo.html")
    text = page.words + " ".join(value for name, value in page.raw.items() if name not in ("script", "style"))
    assert not re.search(r"[+−\W]nan\b", text)


def test_intervals_of_perplexities_are_those_of_their_logarithms(both: Elements) -> None:
    found = (
        rows(both).query("study == 'methods' and measure.str.startswith('perplexity')").dropna(subset="low")
    )
    tidy = pd.read_csv(METHODS / "results.csv").query("metric == 'perplexity' and seed == seed")
    tidy = tidy.set_index(["method", "ratio"])
    worst = found.loc[found["value"].idxmax()]
    of = tidy.loc[(worst["method"], worst["ratio"])]
    value, n = of["value"].mean(), of["n"].iloc[0]
    over_draws = t.ppf(0.975, len(of) - 1) * of["value"].std() / np.sqrt(len(of))
    over_items = t.ppf(0.975, n - 1) * of["stderr"].mean()
    expected = value * np.exp(np.array([-1, 1]) * np.hypot(over_draws, over_items) / value)
    assert [worst["low"], worst["high"]] == pytest.approx([*expected])
    assert (found["low"].astype(float) > 0).all()


def test_the_page_loads_nothing(both: Elements) -> None:
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in both.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not loading & attributes.keys()
        assert not attributes.get("href", "#").startswith(("http:", "https:", "//", "javascript:"))
    assert not re.search(r"@import|url\(", both.raw["style"])
    policy = next(found["content"] for _, found in both.elements if "http-equiv" in found)
    assert "default-src 'none'" in policy and "http" not in policy


def test_words_of_a_study_cannot_become_elements(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(METHODS, tmp_path / "methods"))
    hostile = "</script><script>alert(1)</script><!--"
    claims = pd.read_csv(folder / "claims.csv")
    claims.loc[0, ["sentence", "note", "verdict"]] = hostile
    claims.to_csv(folder / "claims.csv", index=False)
    for path in folder.glob("*.csv"):
        path.write_text(re.sub(r"\bfisher(?=,)", hostile, path.read_text()))
    plain, changed = tmp_path / "plain.html", tmp_path / "changed.html"
    write_page([METHODS], PAPER, plain)
    write_page([folder], PAPER, changed)
    count = [[tag for tag, _ in Elements(page).elements].count("script") for page in (plain, changed)]
    assert count[0] == count[1]
    assert hostile in Elements(changed).words and hostile in {*rows(Elements(changed))["method"]}


def test_new_verdicts_and_columns_are_shown_as_they_come(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(METHODS, tmp_path / "methods"))
    claims = pd.read_csv(folder / "claims.csv").rename(columns={"seeds": "draws"})
    ran = claims["effect"].notna()
    claims.loc[ran, ["verdict", "margin"]] = ["undecidable so far", 0.0123]
    claims.to_csv(folder / "claims.csv", index=False)
    write_page([folder], PAPER, tmp_path / "report.html")
    words = Elements(tmp_path / "report.html").words
    assert "undecidable so far" in words and "Margin" in words and "0.0123" in words


def test_the_tidy_table_and_its_names_are_enough(tmp_path: Path) -> None:
    for name in ("results.csv", "records.parquet", "study.yaml"):
        shutil.copy(METHODS / name, tmp_path)
    write_page([tmp_path], PAPER, tmp_path / "report.html")
    words = Elements(tmp_path / "report.html").words
    assert "stays nearest the dense model" in words
    assert "claims were not tested yet" in words
    assert "The paper's Table 7 beside ours" in words and "Every method beside the reference" not in words


def test_the_script_fills_every_hole_of_the_chart_and_no_other(both: Elements) -> None:
    holes = {*re.findall(r"@\w+", json.dumps(json.loads(both.raw["data"])["chart"]))}
    assert holes == {*re.findall(r'"(@\w+)":', both.raw["script"])} and len(holes) == 8


def test_values_far_from_the_rest_are_numbers_at_the_edge() -> None:
    names = ["near", "nearer", "far"]
    looks = {name: Look(name, "#000000", "o") for name in names}
    values = {"value": [0.1, -0.05, 50.0], "low": [0.0, -0.1, 40.0], "high": [0.2, 0.0, 60.0]}
    rows = pd.DataFrame({"group": names, "place": [0.0, 1.0, 2.0], **values})
    ends = span(rows, 0.0)
    assert ends[0] < 0 and 0.2 < ends[1] < 1
    spec = vega_lite(Chart(rows, looks, Axis("x", ends=ends), names=names, neutral=0.0), {})
    near, _, far, level = spec["data"]["values"]
    assert near["value"] == 0.1 and near["edge_high"] is None
    assert far["value"] == ends[1] and far["edge_high"] == "50 →" and level == {"level": True, "value": 0.0}


def test_only_so_many_groups_have_colours_as_can_be_told_apart() -> None:
    looks = {f"{i}": Look(f"{i}", "#000000", "o") for i in range(12)}
    rows = pd.DataFrame({"group": [*looks], "place": 1.0, "value": 1.0, "low": np.nan, "high": np.nan})
    spec = vega_lite(Chart(rows, looks, Axis("y"), Axis("x", log=2)), {})
    assert [row["name"] for row in spec["data"]["values"] if row["own"]] == [f"{i}" for i in range(MOST)]
    assert sum(row["other"] for row in spec["data"]["values"]) == 12 - MOST


def test_a_header_alone_is_no_study(tmp_path: Path) -> None:
    shutil.copy(METHODS / "study.yaml", tmp_path)
    lines = (METHODS / "results.csv").read_text().splitlines(keepends=True)
    (tmp_path / "results.csv").write_text(lines[0])
    said = failure("page", "--results", tmp_path, "--paper", PAPER, "--out", tmp_path / "report.html")
    assert "results.csv holds no result; run `hfprune collect` first" in said


def test_mistakes_end_with_one_line(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert "two results folders are of one study, 'methods'" in failure(
        "page", "--results", METHODS, METHODS, "--paper", PAPER, "--out", out
    )
    assert "run `hfprune collect` first" in failure(
        "page", "--results", tmp_path, "--paper", PAPER, "--out", out
    )
    assert not out.exists()
